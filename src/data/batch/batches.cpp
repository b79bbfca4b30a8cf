#include "data/batch/batches.h"

#include <algorithm>
#include <cmath>

#include "base/math.h"

namespace moebius::data {

std::int64_t MicroBatch::trained() const {
  return std::int64_t(targets.size()) - std::count(targets.begin(), targets.end(), kNotTrained);
}

std::int64_t MicroBatch::trained_chosen() const {
  std::int64_t count = 0;
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const auto begin = targets.begin() + starts[std::size_t(2 * pair)];
    const auto end = targets.begin() + starts[std::size_t(2 * pair + 1)];
    count += (end - begin) - std::count(begin, end, kNotTrained);
  }
  return count;
}

void MicroBatch::append(const SampleView& sample) {
  for (const SampleView& sequence : sample.sequences()) {
    const std::size_t length = sequence.ids.size();
    for (std::size_t i = 0; i < length; ++i) {
      const bool has_next = i + 1 < length;
      ids.push_back(sequence.ids[i]);
      positions.push_back(std::int32_t(i));
      targets.push_back(has_next ? sequence.labels[i + 1] : kNotTrained);
      loss_scale.push_back(has_next && !sequence.loss_scale.empty() ? sequence.loss_scale[i + 1] : 1.0f);
    }
    starts.push_back(std::int32_t(ids.size()));
  }
  pairs += sample.is_pair() ? 1 : 0;
}

void JoinedSamples::add(std::unique_ptr<SampleSource> source) {
  const std::int64_t begin = count_;
  count_ += source->count();
  members_.push_back({begin, std::move(source)});
}

const JoinedSamples::Member& JoinedSamples::member_of(std::int64_t index) const {
  const auto behind =
      std::upper_bound(members_.begin(), members_.end(), index,
                       [](std::int64_t wanted, const Member& member) { return wanted < member.begin; });
  return *(behind - 1);
}

std::int64_t JoinedSamples::length(std::int64_t index) const {
  const Member& member = member_of(index);
  return member.source->length(index - member.begin);
}

void JoinedSamples::read(std::int64_t index, Sample& sample) const {
  const Member& member = member_of(index);
  member.source->read(index - member.begin, sample);
}

std::int64_t Batches::iterations(double epochs, std::int64_t position) const {
  const auto whole = std::int64_t(std::floor(double(packs()) * epochs + 1e-9));
  return std::max<std::int64_t>(whole - position, 0) / settings_.sizes.global;
}

std::int64_t Batches::micro_batches() const {
  return divide_exactly(settings_.sizes.global, settings_.sizes.micro);
}

std::int64_t Batches::pass_length() const {
  return divide_up(packs(), settings_.sizes.micro);
}

std::int64_t Batches::pack_at(std::int64_t position) {
  const std::int64_t epoch = position / packs(), place = position % packs();
  if (settings_.order == Order::as_in_file) return place;
  if (epoch != epoch_) epoch_order_ = permutation(packs(), settings_.seed, std::uint32_t(epoch) + 1);
  epoch_ = epoch;
  return epoch_order_[std::size_t(place)];
}

void Batches::append_pack(std::int64_t pack, MicroBatch& batch) const {
  Sample sample;
  for (const std::int64_t index : packs_.pack(pack)) {
    samples_.read(index, sample);
    batch.append(sample.view());
    batch.samples.push_back(index);
  }
}

MicroBatch Batches::micro_batch(std::int64_t position, std::int64_t index) {
  MicroBatch batch;
  const std::int64_t first = position + index * settings_.sizes.micro;
  for (std::int64_t i = 0; i < settings_.sizes.micro; ++i) append_pack(pack_at(first + i), batch);
  return batch;
}

MicroBatch Batches::pass(std::int64_t index) const {
  MicroBatch batch;
  const std::int64_t first = index * settings_.sizes.micro;
  for (std::int64_t pack = first; pack < std::min(first + settings_.sizes.micro, packs()); ++pack)
    append_pack(pack, batch);
  return batch;
}

}  // namespace moebius::data

#include "hub/merged_weights.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "checkpoint/slabs.h"
#include "tensor/convert.h"

namespace moebius::hub {

MergedWeights::MergedWeights(std::unique_ptr<WeightSource> model, std::unique_ptr<WeightSource> adapter,
                             const models::AdapterSettings& settings)
    : model_(std::move(model)),
      adapter_(std::move(adapter)),
      pairs_(model_->table().size()),
      rank_(settings.rank),
      scale_(float(settings.scale())) {
  std::unordered_map<std::string, std::size_t> row_of;
  for (std::size_t i = 0; i < adapter_->table().size(); ++i) row_of[adapter_->table()[i].name] = i;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const std::vector<std::string> names = models::module_names(model_->table()[i]);
    for (std::size_t part = 0; part < names.size(); ++part) {
      const auto a = row_of.find(names[part] + ".a"), b = row_of.find(names[part] + ".b");
      if (a != row_of.end()) pairs_[i].push_back({a->second, b->second, std::int64_t(part)});
    }
  }
}

void MergedWeights::read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const {
  std::optional<std::size_t> current;
  std::vector<Factors> factors;
  std::vector<float> sum;
  model_->read(wanted,
               [&](std::size_t parameter, const models::Slab& slab, const checkpoint::Elements& elements) {
                 if (pairs_[parameter].empty()) return sink(parameter, slab, elements);
                 if (current != parameter) factors = load(parameter);
                 current = parameter;
                 sum.resize(std::size_t(slab.size()));
                 convert(elements.dtype, elements.bytes.data(), Dtype::float32, sum.data(), slab.size());
                 add(parameter, slab, factors, sum);
                 sink(parameter, slab, {Dtype::float32, std::as_bytes(std::span(sum))});
               });
}

std::vector<MergedWeights::Factors> MergedWeights::load(std::size_t parameter) const {
  std::vector<Factors> factors;
  for (const Pair& pair : pairs_[parameter])
    factors.push_back({pair.part, load_row(pair.a), load_row(pair.b)});
  return factors;
}

std::vector<float> MergedWeights::load_row(std::size_t row) const {
  const models::Parameter& parameter = adapter_->table()[row];
  std::vector<models::Slab> wanted;
  for (const models::Parameter& one : adapter_->table())
    wanted.push_back({std::vector<Range>(one.shape.size())});
  wanted[row] = checkpoint::whole_slab(parameter.shape);
  std::vector<float> values(std::size_t(parameter.size()));
  adapter_->read(wanted, [&](std::size_t, const models::Slab& slab, const checkpoint::Elements& elements) {
    for (const models::Run& run : models::runs_of(parameter, slab))
      convert(elements.dtype, elements.bytes.data() + run.local * size_of(elements.dtype), Dtype::float32,
              values.data() + run.whole, run.count);
  });
  return values;
}

/// `elements` of the slab: each row, which has a place among the experts, the modules and the outputs, gets
/// its share.
void MergedWeights::add(std::size_t parameter, const models::Slab& slab, const std::vector<Factors>& factors,
                        std::vector<float>& elements) const {
  const models::Parameter& row = model_->table()[parameter];
  const std::int64_t out = row.shape[row.shape.size() - 2], in = row.shape.back();
  const std::int64_t parts = std::int64_t(row.hub.size());
  std::vector<float> share;
  for (const models::Run& run : models::runs_of(row, slab)) {
    // A run may span several rows, whole or not.
    for (std::int64_t done = 0; done < run.count;) {
      const std::int64_t whole = (run.whole + done) / in, first = (run.whole + done) % in;
      const std::int64_t count = std::min(in - first, run.count - done);
      const std::int64_t o = whole % out, part = whole / out % parts, expert = whole / out / parts;
      float* to = elements.data() + run.local + done;
      done += count;
      for (const Factors& factor : factors) {
        if (factor.part != part) continue;
        const float* a = factor.a.data() + expert * rank_ * in + first;
        const float* b = factor.b.data() + (expert * out + o) * rank_;
        share.assign(std::size_t(count), 0);
        for (std::int64_t r = 0; r < rank_; ++r) {
          for (std::int64_t i = 0; i < count; ++i) share[std::size_t(i)] += b[r] * a[r * in + i];
        }
        for (std::int64_t i = 0; i < count; ++i) to[i] += scale_ * share[std::size_t(i)];
      }
    }
  }
}

}  // namespace moebius::hub

#include "models/weight_state.h"

#include <algorithm>
#include <type_traits>

#include "kernels/update/fill_normal.h"
#include "models/shard_transfer.h"
#include "tensor/platform.h"
#include "tensor/random.h"
#include "tensor/row_transfer.h"
#include "tensor/transfer.h"

namespace moebius::models {
namespace {

template <class T, Space S>
void clear_all(View<T, 1, S> values, Queue<S> queue) {
  clear_bytes(values.data, values.size() * std::int64_t(sizeof(T)), queue);
}

/// What of `stripes` lies in `range` of the packed side, where it is counted from the range's begin.
std::vector<Stripe> inside(const std::vector<Stripe>& stripes, Range range) {
  std::vector<Stripe> found;
  const auto add = [&](const Stripe& stripe, std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    const std::int64_t row = begin / stripe.count, column = begin % stripe.count;
    const bool whole_rows = column == 0 && (end - begin) % stripe.count == 0;
    found.push_back({.local = stripe.local + begin - range.begin,
                     .whole = stripe.whole + row * stripe.stride + column,
                     .count = whole_rows ? stripe.count : end - begin,
                     .rows = whole_rows ? (end - begin) / stripe.count : 1,
                     .stride = stripe.stride});
  };
  for (const Stripe& stripe : stripes) {
    const std::int64_t begin = std::max<std::int64_t>(range.begin - stripe.local, 0);
    const std::int64_t end = std::min(range.end - stripe.local, stripe.rows * stripe.count);
    if (begin >= end) continue;
    // The rest of the row it begins in, whole rows, the beginning of the row it ends in.
    const std::int64_t first = std::min(round_up(begin, stripe.count), end);
    const std::int64_t last = std::max(end / stripe.count * stripe.count, first);
    add(stripe, begin, first), add(stripe, first, last), add(stripe, last, end);
  }
  return found;
}

/// Start values of normal distribution for the rows of one model.
template <Space S>
class NormalRows {
 public:
  NormalRows(std::uint64_t seed, Queue<S> queue) : seed_(seed), queue_(queue) {}

  /// Queues the values of a shard, rounded to T.
  template <class T>
  void fill(const Parameter& parameter, const Slab& slab, View<T, 1, S> shard) {
    fill_part(parameter, slab, {0, shard.size()}, shard);
  }
  /// Those of the elements `part` of a shard alone.
  template <class T>
  void fill_part(const Parameter& parameter, const Slab& slab, Range part, View<T, 1, S> values) {
    for (const Stripe& stripe : inside(stripes_of(runs_of(parameter, slab)), part))
      fill_stripe(parameter, stripe, values);
  }
  /// Hands the fp32 values of a shard to upload.put(), a part at a time.
  void put(const Parameter& parameter, std::size_t index, const Slab& slab, ShardUpload<S>& upload);

 private:
  static constexpr std::int64_t kElements = std::int64_t{1} << 22;  // of each piece of memory
  static constexpr std::int64_t kShortRun = std::int64_t{1} << 16;  // elements

  template <class T>
  void fill_stripe(const Parameter& parameter, const Stripe& stripe, View<T, 1, S> shard) {
    const bool scattered = stripe.rows > 1 && stripe.count < kShortRun && stripe.stride <= kElements;
    if (S == Space::device && scattered) return fill_rows(parameter, stripe, shard);
    for (std::int64_t row = 0; row < stripe.rows; ++row)
      fill_run(parameter, stripe.whole + row * stripe.stride,
               shard.slice(stripe.local + row * stripe.count, stripe.count));
  }
  template <class T>
  void fill_run(const Parameter& parameter, std::int64_t first, View<T, 1, S> values) {
    kernels::fill_normal(kernels::FillNormal<T, S>{.y = values,
                                                   .seed = seed_,
                                                   .stream = RandomStream::initialisation,
                                                   .tensor = tensor_id(parameter.name),
                                                   .first_index = first,
                                                   .deviation = parameter.init.deviation},
                         queue_);
  }
  /// Many short runs would be as many launches: fills what lies between them too, elsewhere, and takes the
  /// columns that this rank has.
  template <class T>
  void fill_rows(const Parameter& parameter, const Stripe& stripe, View<T, 1, S> shard) {
    const std::int64_t size = sizeof(T), at_once = kElements / stripe.stride;
    const View<T, 1, S> whole{reinterpret_cast<T*>(memory(whole_rows_).data), {kElements}};
    for (std::int64_t row = 0; row < stripe.rows; row += at_once) {
      const std::int64_t rows = std::min(at_once, stripe.rows - row);
      fill_run(parameter, stripe.whole + row * stripe.stride,
               whole.slice(0, (rows - 1) * stripe.stride + stripe.count));
      copy_rows({.from = reinterpret_cast<const std::byte*>(whole.data),
                 .from_pitch = stripe.stride * size,
                 .to = reinterpret_cast<std::byte*>(shard.data + stripe.local + row * stripe.count),
                 .to_pitch = stripe.count * size,
                 .width = stripe.count * size,
                 .rows = rows},
                queue_);
    }
  }
  [[nodiscard]] View<float, 1, S> memory(View<float, 1, S>& view) {
    if (view.data == nullptr) view = arena_.template make<float>(kElements);
    return view;
  }

  std::uint64_t seed_;
  Queue<S> queue_;
  Arena<S> arena_{"start values"};
  Staging<S> staging_{"start values"};
  View<float, 1, S> whole_rows_, part_;
  View<float, 1, Space::host> values_;
};

template <Space S>
void NormalRows<S>::put(const Parameter& parameter, std::size_t index, const Slab& slab,
                        ShardUpload<S>& upload) {
  if (values_.data == nullptr) values_ = staging_.template make<float>(kElements);
  for (const Stripe& stripe : stripes_of(runs_of(parameter, slab))) {
    for (const Stripe& part : parts_of(stripe, kElements)) {
      const Run there{0, part.local, part.rows * part.count};
      const auto values = memory(part_).slice(0, there.count);
      fill_stripe(parameter, {0, part.whole, part.count, part.rows, part.stride}, values);
      download<float, S>(values, values_.slice(0, there.count), queue_);
      wait(queue_);
      upload.put(index, {&there, 1}, Dtype::float32, reinterpret_cast<const std::byte*>(values_.data));
    }
  }
}

/// The start values of row `index` that this rank owns.
template <Space S>
void fill_master(NormalRows<S>& normal, std::size_t index, const Owned<float, S>& master) {
  const ShardLayout& layout = master.ownership().layout();
  const auto& row = layout.row(index);
  for (const Ownership::Piece& piece : master.ownership().owned({row.offset, row.offset + row.size})) {
    const Range part{piece.elements.begin - row.offset, piece.elements.end - row.offset};
    normal.fill_part(layout.table()[index], row.slab, part, master[piece]);
  }
}

}  // namespace

template <class T, Space S>
WeightState<T, S> make_weight_state(const Ownership& ownership, Truth truth, Arena<S>& weight_memory,
                                    Arena<S>& optimizer_memory, Queue<S> queue) {
  WeightState<T, S> state{
      .weights = Shards<T, S>(ownership.layout(), weight_memory), .master = {}, .remainder = {}};
  const Truth kept = std::is_same_v<T, float> ? Truth::weights : truth;
  if (kept == Truth::master) state.master.emplace(ownership, optimizer_memory);
  if (kept == Truth::remainder) state.remainder.emplace(ownership, optimizer_memory);
  clear(state, queue);
  return state;
}

template <class T, Space S>
void clear(const WeightState<T, S>& state, Queue<S> queue) {
  clear_all(state.weights.flat(), queue);
  if (state.master) clear_all(state.master->flat(), queue);
  if (state.remainder) clear_all(state.remainder->flat(), queue);
}

template <class T, Space S>
void initialise(const WeightState<T, S>& state, std::uint64_t seed, Queue<S> queue) {
  clear(state, queue);
  const ShardLayout& layout = state.layout();
  NormalRows<S> normal(seed, queue);
  ShardUpload<S> upload(state, queue);
  for (std::size_t i = 0; i < layout.count(); ++i) {
    const Parameter& parameter = layout.table()[i];
    const Slab& slab = layout.row(i).slab;
    if (parameter.init.kind == InitialValue::Kind::ones) {
      const std::vector<float> ones(std::size_t(slab.size()), 1.0f);
      const Run all{0, 0, slab.size()};
      upload.put(i, {&all, 1}, Dtype::float32, reinterpret_cast<const std::byte*>(ones.data()));
    }
    if (parameter.init.kind != InitialValue::Kind::normal) continue;  // zeros are there already
    if (state.remainder) {
      normal.put(parameter, i, slab, upload);
    } else {
      normal.fill(parameter, slab, state.weights[i]);
      if (state.master) fill_master(normal, i, *state.master);
    }
  }
  upload.finish();
}

#define MOEBIUS_INSTANTIATE_FOR(T, S)                                                                    \
  template WeightState<T, S> make_weight_state(const Ownership&, Truth, Arena<S>&, Arena<S>&, Queue<S>); \
  template void clear(const WeightState<T, S>&, Queue<S>);                                               \
  template void initialise(const WeightState<T, S>&, std::uint64_t, Queue<S>);
#define MOEBIUS_INSTANTIATE(S) MOEBIUS_INSTANTIATE_FOR(float, S) MOEBIUS_INSTANTIATE_FOR(bf16, S)
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE
#undef MOEBIUS_INSTANTIATE_FOR

}  // namespace moebius::models

#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "models/shards.h"
#include "models/weight_state.h"

/// Elements of this rank's shards from the host's memory and into it. Files and start values go through here.
///
/// In the host space elements are converted where they lie. For a device they pass through two small pieces
/// of staging memory: one travels while the host works on the other.
namespace moebius::models {

/// Elements that lie packed on one side, and on the other in `rows` pieces of `count`, `stride` apart.
struct Stripe {
  std::int64_t local, whole, count;  // of the first row, as in Run
  std::int64_t rows = 1, stride = 0;
};
/// Neighbouring runs of one length and distance as one stripe.
[[nodiscard]] std::vector<Stripe> stripes_of(std::span<const Run> runs);
/// Cuts a stripe into stripes of at most `longest` elements (>= 1).
[[nodiscard]] std::vector<Stripe> parts_of(const Stripe& stripe, std::int64_t longest);

/// Two pieces of staging memory that take turns; none in the host space.
template <Space S>
class StagingPair {
 public:
  /// For shards of `largest` elements in all: fewer make smaller pieces.
  StagingPair(std::int64_t largest, Queue<S> queue)
      : queue_(queue), elements_(std::clamp<std::int64_t>(largest, 1, kMostElements)) {}
  StagingPair(const StagingPair&) = delete;
  StagingPair& operator=(const StagingPair&) = delete;
  ~StagingPair();

  struct Piece {
    std::byte* values;  // [elements()] of up to kElementBytes bytes
    std::byte* beside;  // likewise, of what stands beside them
  };
  /// The piece whose turn it is; the other's copies may still be under way.
  [[nodiscard]] Piece next();
  [[nodiscard]] std::int64_t elements() const { return elements_; }
  [[nodiscard]] Queue<S> queue() const { return queue_; }

 private:
  static constexpr std::int64_t kMostElements = std::int64_t{1} << 20;
  static constexpr std::int64_t kElementBytes = 4;  // of the widest type that shards have
  static constexpr std::int64_t kAlignment = 256;   // bytes
  [[nodiscard]] std::int64_t piece_bytes() const { return round_up(kElementBytes * elements_, kAlignment); }

  Queue<S> queue_;
  std::int64_t elements_;
  Staging<S> memory_{"copies between host and device", 4 * piece_bytes()};
  std::array<Piece, 2> pieces_{};
  std::size_t turn_ = 0;
};

/// Puts elements of any floating type into shards, or into weights and what stands beside them: the fp32
/// value of each element becomes the truth, the weight is rounded from it.
template <Space S>
class ShardUpload {
 public:
  ShardUpload(const AnyShards<S>& shards, Queue<S> queue) : ShardUpload(shards, nullptr, nullptr, queue) {}
  template <class T>
  ShardUpload(const WeightState<T, S>& state, Queue<S> queue)
      : ShardUpload(state.weights, state.master ? state.master->flat().data : nullptr,
                    state.remainder ? state.remainder->flat().data : nullptr, queue) {}

  /// elements[run.local ...] become those of row `index` from run.whole on. They are needed no more when it
  /// returns. Throws std::logic_error for integers.
  void put(std::size_t index, std::span<const Run> runs, Dtype dtype, const std::byte* elements);
  /// Returns when all that was put is in its place.
  void finish();

 private:
  ShardUpload(const AnyShards<S>& shards, float* master, std::int16_t* remainder, Queue<S> queue)
      : shards_(shards), master_(master), remainder_(remainder), staging_(shards.layout().size(), queue) {}
  void send(std::int64_t offset, const Stripe& part, Dtype dtype, const std::byte* elements);

  AnyShards<S> shards_;
  float* master_;
  std::int16_t* remainder_;
  StagingPair<S> staging_;
};

/// Gets the elements of shards as they are stored, or the fp32 values of weights.
template <Space S>
class ShardDownload {
 public:
  ShardDownload(const AnyShards<S>& shards, Queue<S> queue)
      : ShardDownload(shards, nullptr, shards.dtype(), queue) {}
  template <class T>
  ShardDownload(const WeightState<T, S>& state, Queue<S> queue)
      : ShardDownload(state.master ? AnyShards<S>(*state.master) : AnyShards<S>(state.weights),
                      state.remainder ? state.remainder->flat().data : nullptr, Dtype::float32, queue) {}

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  /// out[run.local ...] = those of row `index` from run.whole on.
  void get(std::size_t index, std::span<const Run> runs, std::byte* out);

 private:
  struct Found {
    const std::byte* values;
    const std::int16_t* remainder;
  };
  ShardDownload(const AnyShards<S>& shards, const std::int16_t* remainder, Dtype dtype, Queue<S> queue)
      : shards_(shards), remainder_(remainder), dtype_(dtype), staging_(shards.layout().size(), queue) {}
  [[nodiscard]] Found fetch(std::int64_t first, std::int64_t count);
  void emit(const Found& found, std::int64_t count, std::byte* out) const;

  AnyShards<S> shards_;
  const std::int16_t* remainder_;
  Dtype dtype_;  // of what is got
  StagingPair<S> staging_;
};

}  // namespace moebius::models

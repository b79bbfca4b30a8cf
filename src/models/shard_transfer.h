#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "models/ownership.h"
#include "models/shards.h"
#include "models/weight_state.h"

/// Elements of this rank's shards from the host's memory and into it. Files and start values go through here.
///
/// In the host space elements are converted where they lie. For a device they pass through two small pieces
/// of staging memory: one travels while the host works on the other.
namespace moebius::models {

/// What one piece of a shard takes at the most on its way into a file.
inline constexpr std::int64_t kFilePieceBytes = std::int64_t{1} << 26;

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

/// The elements that come and go, by their place in the flat buffers or among those that this rank owns.
template <Space S>
struct TransferPlaces {
  const ShardLayout* layout;
  Dtype dtype;  // of values
  std::byte* values;
  /// Where `values` are those of owned elements alone, or others stand beside them: who owns what.
  const Ownership* ownership = nullptr;
  bool values_are_owned = false;
  Truth truth = Truth::weights;  // how a value goes into `values`, and what it leaves beside them
  float* master = nullptr;       // owned
  std::int16_t* remainder = nullptr;

  TransferPlaces(const AnyShards<S>& shards)
      : layout(&shards.layout()), dtype(shards.dtype()), values(shards.bytes().data) {}
  TransferPlaces(const AnyOwned<S>& owned)
      : layout(&owned.layout()),
        dtype(owned.dtype()),
        values(owned.bytes().data),
        ownership(&owned.ownership()),
        values_are_owned(true) {}
  template <class T>
  TransferPlaces(const WeightState<T, S>& state) : TransferPlaces(AnyShards<S>(state.weights)) {
    ownership = state.ownership();
    truth = state.truth();
    if (state.master) master = state.master->flat().data;
    if (state.remainder) remainder = state.remainder->flat().data;
  }
  /// All of the range where nobody asks who owns what.
  [[nodiscard]] std::vector<Ownership::Piece> pieces(Range range) const {
    if (ownership == nullptr) return {{range, std::nullopt}};
    return ownership->pieces(range);
  }
};

/// Puts elements of any floating type into shards, into what this rank owns, or into weights and what stands
/// beside them: the fp32 value of each element becomes the truth, the weight is rounded from it, in the same
/// way by the rank that owns it and by the others.
template <Space S>
class ShardUpload {
 public:
  /// `to`: AnyShards, AnyOwned or a WeightState.
  template <class To>
  ShardUpload(const To& to, Queue<S> queue) : places_(to), staging_(places_.layout->size(), queue) {}

  /// elements[run.local ...] become those of row `index` from run.whole on; those that have no place here are
  /// passed over. They are needed no more when it returns. Throws std::logic_error for integers.
  void put(std::size_t index, std::span<const Run> runs, Dtype dtype, const std::byte* elements);
  /// Returns when all that was put is in its place.
  void finish();

 private:
  struct Coming {
    Dtype dtype;
    const std::byte* elements;
  };
  void send_part(std::int64_t offset, const Stripe& part, const Coming& coming);
  void send(const Ownership::Piece& piece, const Stripe& part, const Coming& coming);

  TransferPlaces<S> places_;
  StagingPair<S> staging_;
};

/// Gets the elements of shards, or what this rank owns, as they are stored; or the fp32 values of weights.
template <Space S>
class ShardDownload {
 public:
  ShardDownload(const AnyShards<S>& shards, Queue<S> queue)
      : ShardDownload(TransferPlaces<S>(shards), shards.dtype(), queue) {}
  ShardDownload(const AnyOwned<S>& owned, Queue<S> queue)
      : ShardDownload(TransferPlaces<S>(owned), owned.dtype(), queue) {}
  template <class T>
  ShardDownload(const WeightState<T, S>& state, Queue<S> queue)
      : ShardDownload(state.master ? TransferPlaces<S>(AnyOwned<S>(*state.master)) : TransferPlaces<S>(state),
                      Dtype::float32, queue) {}

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  /// out[run.local ...] = those of row `index` from run.whole on. Throws std::logic_error where this rank
  /// does not own what it would need.
  void get(std::size_t index, std::span<const Run> runs, std::byte* out);

 private:
  struct Found {
    const std::byte* values;
    const std::int16_t* remainder;
  };
  ShardDownload(const TransferPlaces<S>& places, Dtype dtype, Queue<S> queue)
      : places_(places), dtype_(dtype), staging_(places.layout->size(), queue) {}
  [[nodiscard]] Found fetch(const Ownership::Piece& piece);
  void emit(const Found& found, std::int64_t count, std::byte* out) const;

  TransferPlaces<S> places_;
  Dtype dtype_;  // of what is got
  StagingPair<S> staging_;
};

}  // namespace moebius::models

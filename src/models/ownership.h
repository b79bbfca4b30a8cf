#pragma once
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/parameter_table.h"
#include "tensor/arena.h"
#include "tensor/dtype.h"

namespace moebius::models {

/// What the optimizer keeps of each parameter (master values, moments) is shared out among the ranks that
/// hold the same shard and see different samples: each keeps it for a part of the flat buffers of its own,
/// moves the weights there, and gets the others' from them.
///
/// A block of a layout is cut into buckets, and each bucket into as many equal parts as its axis has ranks,
/// in the order of their index; a part may begin and end anywhere in a parameter. The parts of this rank, end
/// to end in the order of the buffer, are the owned buffer. Where no axis has a second rank it is the flat
/// buffer itself.
class Ownership {
 public:
  /// What travels as one message.
  struct Bucket {
    Axis axis;
    Range elements;      // of the flat buffer
    Range own;           // this rank's part of them
    std::int64_t place;  // of own.begin in the owned buffer
  };
  /// Elements that lie side by side in both buffers, or nowhere in the owned one.
  struct Piece {
    Range elements;  // of the flat buffer
    std::optional<std::int64_t> place;
  };

  /// Where buckets end, in elements; only tests have a reason to change it. 64 MiB in fp32, and at least 1
  /// MiB from one rank to another, are bytes enough that the fabric's bandwidth decides and not its latency;
  /// longer ones would start later in backward.
  struct Limits {
    std::int64_t bucket = std::int64_t{1} << 24, least_part = std::int64_t{1} << 18;
  };
  /// Sums of buckets that are under way at once in host memory, where each takes as much as it sums: one
  /// arrives while another is added up.
  static constexpr std::int64_t kHostSums = 2;
  /// `layout` must outlive it.
  Ownership(const ShardLayout& layout, const Mesh& mesh) : Ownership(layout, mesh, Limits{}) {}
  Ownership(const ShardLayout& layout, const Mesh& mesh, const Limits& limits);

  [[nodiscard]] const ShardLayout& layout() const { return *layout_; }
  [[nodiscard]] const std::vector<Bucket>& buckets() const { return buckets_; }
  /// Elements of the owned buffer.
  [[nodiscard]] std::int64_t size() const { return size_; }
  /// The most that others send this rank of one bucket.
  [[nodiscard]] std::int64_t largest_arrival() const;
  /// Cuts a range of the flat buffer into pieces that are owned or are not, in order; neighbours joined.
  [[nodiscard]] std::vector<Piece> pieces(Range range) const;
  /// Those of them that are owned.
  [[nodiscard]] std::vector<Piece> owned(Range range) const;
  /// This rank alone, of all ranks of the mesh, stands for what it owns of row `index`: on other ranks that
  /// own the same elements (those of an axis that the row is not split over) it is false.
  [[nodiscard]] bool stands_for(std::size_t index) const { return stands_for_[index]; }

 private:
  void append(Range elements, std::int64_t place);

  const ShardLayout* layout_;
  std::vector<Bucket> buckets_;
  std::vector<Piece> owned_;  // all, neighbours joined
  std::vector<bool> stands_for_;
  std::int64_t size_ = 0;
};

/// One value for each owned element. Does not own: the memory is the arena's.
template <class T, Space S>
class Owned {
 public:
  Owned(const Ownership& ownership, Arena<S>& arena)
      : ownership_(&ownership), flat_(arena.template make<T>(ownership.size())) {}

  [[nodiscard]] const Ownership& ownership() const { return *ownership_; }
  [[nodiscard]] View<T, 1, S> flat() const { return flat_; }
  /// Those of a piece, which must be owned.
  [[nodiscard]] View<T, 1, S> operator[](const Ownership::Piece& piece) const {
    return flat_.slice(piece.place.value(), piece.elements.size());
  }

 private:
  const Ownership* ownership_;  // must outlive the values
  View<T, 1, S> flat_;
};

/// The same of a type known only when the program runs: moments in fp32 or bf16.
template <Space S>
class AnyOwned {
 public:
  AnyOwned(const Ownership& ownership, Dtype dtype, Arena<S>& arena)
      : ownership_(&ownership),
        dtype_(dtype),
        data_(arena.template make<std::byte>(ownership.size() * size_of(dtype)).data) {}
  template <class T>
  AnyOwned(const Owned<T, S>& values)
      : ownership_(&values.ownership()),
        dtype_(kDtypeOf<T>),
        data_(reinterpret_cast<std::byte*>(values.flat().data)) {}

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  [[nodiscard]] const Ownership& ownership() const { return *ownership_; }
  [[nodiscard]] const ShardLayout& layout() const { return ownership_->layout(); }
  [[nodiscard]] View<std::byte, 1, S> bytes() const {
    return {data_, {ownership_->size() * size_of(dtype_)}};
  }
  /// Throws std::logic_error where they are not of type T.
  template <class T>
  [[nodiscard]] View<T, 1, S> flat() const {
    if (kDtypeOf<T> != dtype_)
      throw std::logic_error("values of another type: " + std::string(name_of(dtype_)));
    return {reinterpret_cast<T*>(data_), {ownership_->size()}};
  }

 private:
  const Ownership* ownership_;  // must outlive the values
  Dtype dtype_;
  std::byte* data_;
};

}  // namespace moebius::models

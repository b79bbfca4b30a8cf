#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/slabs.h"
#include "tensor/dtype.h"

namespace moebius::checkpoint {

/// The file is not whole: cut off, changed after it was written, or not a checkpoint at all. An older
/// checkpoint may help, which it cannot where a file is whole and does not fit the model (InputError).
struct DamagedError : InputError {
  using InputError::InputError;
};

/// Elements of a slab as they lie in the file: packed, row-major.
struct Elements {
  Dtype dtype;
  std::span<const std::byte> bytes;
};
/// Takes elements of `slab` of parameter `parameter`. The bytes are gone when it returns.
using SlabSink = std::function<void(std::size_t parameter, const Slab& slab, const Elements& elements)>;

/// A tensor of the file.
struct StoredTensor {
  std::string path;  // "parameters/layers.0.norm"
  Dtype dtype;
  std::vector<std::int64_t> shape;
};

/// One checkpoint, open for reading by this rank alone, whatever mesh wrote it: no call is collective.
/// Nothing of the file is believed before its checksum was seen to be right.
class Reader {
 public:
  /// Opens it and checks that all of its parts are there. Throws DamagedError.
  explicit Reader(const std::filesystem::path& path);
  Reader(Reader&&) noexcept;
  ~Reader();

  [[nodiscard]] const std::filesystem::path& file() const;
  [[nodiscard]] const Contents& contents() const;
  /// The tensors of all groups, in the order of the file.
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const;
  /// Whether the file has tensors under "<group>/".
  [[nodiscard]] bool has_group(std::string_view group) const;

  /// Throws InputError naming the tensor where the group's tensors are not the table's: one is missing, is
  /// not in the table, or has another shape.
  void expect_tensors(std::string_view group, const models::ParameterTable& table) const;
  /// Gives `sink` the wanted slabs of each parameter, in parts, one parameter after the other. Needs two
  /// buffers of the size that the writer used. Throws as expect_tensors does; DamagedError, naming the tensor
  /// and the place, where a checksum is wrong.
  void read(std::string_view group, const models::ParameterTable& table, const SlabLists& wanted,
            const SlabSink& sink) const;
  /// The same with one slab of each parameter.
  void read(std::string_view group, const models::ParameterTable& table, std::span<const Slab> wanted,
            const SlabSink& sink) const {
    read(group, table, lists_of(wanted), sink);
  }

  /// Checks every `ranks`-th slab of the file, from number `rank` on: what is wrong, one line each; none
  /// where all is well.
  [[nodiscard]] std::vector<std::string> damage(std::int64_t ranks, std::int64_t rank) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moebius::checkpoint

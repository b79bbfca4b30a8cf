#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/math.h"
#include "models/parameter_table.h"
#include "tensor/dtype.h"

namespace moebius::hub {

/// One tensor of a safetensors file, as its header tells.
struct TensorInfo {
  std::string name;
  std::string dtype_word;      // "F32", "BF16", "F8_E4M3", ...
  std::optional<Dtype> dtype;  // nothing: a type that files may hold and we do not read
  std::vector<std::int64_t> shape;
  Range bytes;  // in the data, which begins behind the header

  [[nodiscard]] std::int64_t size() const;  // elements
};

/// The word of a type in a safetensors header: "F32", "BF16", ...
[[nodiscard]] std::string_view safetensors_word(Dtype dtype);

/// A safetensors file, opened to read. The constructor checks everything that the header claims before
/// anything is trusted or allocated by it; each failure is an InputError that names file, tensor, value and
/// reason.
///
///   8 bytes   length N of the header, little endian
///   N bytes   JSON {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}, maybe padded
///   with
///             spaces; "__metadata__" holds strings
///   the rest  the tensors, row-major, end to end without gaps
///
/// Safe to use from several threads.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const {
    return tensors_;
  }                                                                   // in the order of the data
  [[nodiscard]] const TensorInfo* find(std::string_view name) const;  // null: no such tensor

  /// Reads the slab of one of tensors() into out[slab elements] as `dtype`. Memory beyond
  /// `out`: at most 4 MiB. InputError where the tensor's type cannot be read as `dtype`.
  void read(const TensorInfo& tensor, const models::Slab& slab, Dtype dtype, void* out) const;

 private:
  File file_;
  std::int64_t data_begin_ = 0;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_of_;
};

}  // namespace moebius::hub

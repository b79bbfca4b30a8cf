#pragma once
#include <string>
#include <vector>

#include "hub/safetensors.h"

namespace moebius::hub {

/// Reads and checks the header of a safetensors file; the tensors in the order of the data. `data_begin` is
/// where the data begins in the file. Throws InputError.
struct SafetensorsHeader {
  std::int64_t data_begin = 0;
  std::vector<TensorInfo> tensors;
};
[[nodiscard]] SafetensorsHeader read_header(const File& file);

/// The first bytes of a file that holds `tensors`: length and JSON, padded so that the data begins at a
/// multiple of 8. Metadata {"format": "pt"}, without which transformers refuses a file.
[[nodiscard]] std::string header_bytes(const std::vector<TensorInfo>& tensors);

}  // namespace moebius::hub

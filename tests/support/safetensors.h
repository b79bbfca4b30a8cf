#pragma once
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <string>
#include <vector>

namespace moebius::test {

/// A tensor for a test's safetensors file: the bytes that the file shall hold, whatever they mean.
struct RawTensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

template <class T>
[[nodiscard]] std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

[[nodiscard]] inline std::string little_endian_8(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(value >> (8 * i) & 0xff);
  return bytes;
}

/// A safetensors file of this header, true or not, and this data.
[[nodiscard]] inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return little_endian_8(header.size()) + header + data;
}

/// A correct file: written by the format's definition, not by the code under test.
[[nodiscard]] inline std::string safetensors_bytes(const std::vector<RawTensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})", data;
  for (const RawTensor& tensor : tensors) {
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                          tensor.dtype, fmt::join(tensor.shape, ","), data.size(),
                          data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  return safetensors_bytes(header + "}", data);
}

}  // namespace moebius::test

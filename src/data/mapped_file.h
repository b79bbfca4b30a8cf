#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace moebius::data {

/// A whole file, read-only, in the address space: pages are read when touched and dropped when memory is
/// short.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws InputError naming the file and the system's reason.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace moebius::data

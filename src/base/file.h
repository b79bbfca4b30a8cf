#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace moebius {

/// An open file, read and written at given offsets, so that threads may share one. All of a read or write
/// happens, or it throws: InputError from a file opened to read, ClusterError (no space, no permission) from
/// one opened to write; both name the file, the offset and the system's reason.
class File {
 public:
  enum class Mode : std::uint8_t {
    read,
    write_existing,
    create  // empties a file that is there
  };
  File(std::filesystem::path path, Mode mode);
  ~File();
  File(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File& operator=(File&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::int64_t size() const;
  void read_at(std::int64_t offset, std::span<std::byte> out) const;
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);
  /// Makes the file this long; what is added reads as zeros.
  void resize(std::int64_t bytes);
  /// Returns when the bytes are on the disk.
  void sync();

 private:
  [[noreturn]] void fail(const std::string& what) const;
  std::filesystem::path path_;
  Mode mode_;
  int descriptor_ = -1;
};

/// Writes a whole small file and syncs it.
void write_file(const std::filesystem::path& path, std::string_view bytes);
/// Reads a whole file; InputError where it is longer than `limit` bytes.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::int64_t limit);
/// Returns when the names of the folder's files are on the disk: what makes a rename last.
void sync_folder(const std::filesystem::path& folder);

}  // namespace moebius

#include "base/file.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/error.h"

namespace moebius {
namespace {

int flags_of(File::Mode mode) {
  switch (mode) {
    case File::Mode::read: return O_RDONLY;
    case File::Mode::write_existing: return O_RDWR;
    case File::Mode::create: return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

std::string reason() {
  return std::system_category().message(errno);
}

}  // namespace

File::File(std::filesystem::path path, Mode mode) : path_(std::move(path)), mode_(mode) {
  descriptor_ = ::open(path_.c_str(), flags_of(mode) | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("cannot be opened");
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    fail("is not a file");
  }
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), mode_(other.mode_), descriptor_(std::exchange(other.descriptor_, -1)) {}

std::int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail("its size cannot be read");
  return status.st_size;
}

void File::read_at(std::int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(fmt::format("reading at byte {} failed", offset));
    if (count == 0)
      throw InputError(fmt::format("{}: ends at byte {}; more was expected", path_.string(), offset));
    offset += count;
    out = out.subspan(std::size_t(count));
  }
}

void File::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(fmt::format("writing at byte {} failed", offset));
    offset += count;
    bytes = bytes.subspan(std::size_t(count));
  }
}

void File::resize(std::int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) fail(fmt::format("cannot be made {} bytes long", bytes));
}

void File::sync() {
  if (::fsync(descriptor_) != 0) fail("its bytes did not reach the disk");
}

void File::fail(const std::string& what) const {
  const std::string message = fmt::format("{}: {}: {}", path_.string(), what, reason());
  if (mode_ == Mode::read) throw InputError(message);
  throw ClusterError(message);
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  File file(path, File::Mode::create);
  file.write_at(0, std::as_bytes(std::span(bytes)));
  file.sync();
}

std::string read_file(const std::filesystem::path& path, std::int64_t limit) {
  const File file(path, File::Mode::read);
  const std::int64_t size = file.size();
  if (size > limit) {
    throw InputError(fmt::format("{}: {} bytes; more than {} are not read", path.string(), size, limit));
  }
  std::string bytes(std::size_t(size), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw ClusterError(folder.string() + ": cannot be opened: " + reason());
  const int status = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder and say so with EINVAL; there is nothing more to do then.
  if (status != 0 && error != EINVAL) {
    throw ClusterError(folder.string() +
                       ": did not reach the disk: " + std::system_category().message(error));
  }
}

}  // namespace moebius

#include "checkpoint/output_folder.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/file.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/file.h"
#include "base/text.h"

namespace moebius::checkpoint {
namespace {

using namespace std::chrono_literals;

std::string reason_of(int error) {
  return std::system_category().message(error);
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!std::filesystem::is_directory(folder)) {
    throw ClusterError(fmt::format("{}: cannot be made a folder{}{}; choose another job.output",
                                   folder.string(), error ? ": " : "", error ? error.message() : ""));
  }
}

bool has_no_locks(int error) {
  return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL;
}

bool means_full(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

ClusterError no_room(const std::filesystem::path& folder, std::int64_t bytes, int error) {
  return ClusterError(fmt::format(
      "{}: no room for a checkpoint of {} ({} are free): {}; make room there or choose another job.output",
      folder.string(), bytes_text(bytes), bytes_text(free_bytes(folder)), reason_of(error)));
}

/// A file whose name and content the other ranks can look for.
struct Probe {
  std::filesystem::path path;
  explicit Probe(const std::filesystem::path& folder) : path(folder / ".moebius_probe") {}
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  ~Probe() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

/// Network file systems may show a new file late.
bool appears(const std::filesystem::path& path, const std::string& content) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored) && read_file(path, 4096) == content) return true;
    std::this_thread::sleep_for(100ms);
  }
  return false;
}

}  // namespace

OutputLock::OutputLock(const std::filesystem::path& folder, cluster::Cluster& cluster, const Log& log) {
  cluster.on_first_rank("lock the output folder", [&] {
    make_folder(folder);
    const std::filesystem::path path = folder / "moebius.lock";
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0)
      throw ClusterError(fmt::format("{}: cannot be opened: {}; choose another job.output", path.string(),
                                     reason_of(errno)));
    descriptor_ = descriptor;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
      const std::string holder = fmt::format("process {} on {}\n", ::getpid(), host_name());
      if (::ftruncate(descriptor, 0) == 0) (void)!::pwrite(descriptor, holder.data(), holder.size(), 0);
      return;
    }
    const int error = errno;
    std::array<char, 300> holder{};
    const ssize_t count = ::pread(descriptor, holder.data(), holder.size() - 1, 0);
    ::close(std::exchange(descriptor_, -1));
    if (has_no_locks(error)) {
      log.warning("{}: no file locks here ({}); see to it that no second run writes to this folder",
                  folder.string(), reason_of(error));
      return;
    }
    std::string name(holder.data(), count > 0 ? std::size_t(count) : 0);
    while (!name.empty() && name.back() == '\n') name.pop_back();
    throw ClusterError(fmt::format(
        "{}: another run writes to this folder ({}); wait for it to end or choose another job.output",
        folder.string(), name.empty() ? "unknown" : name));
  });
}

OutputLock::~OutputLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void check_output(const std::filesystem::path& folder, std::int64_t bytes, cluster::Cluster& cluster) {
  const std::string content = cluster.broadcast(
      "output probe",
      fmt::format("{} {}\n", host_name(), std::chrono::system_clock::now().time_since_epoch().count()));
  std::optional<Probe> probe;
  cluster.on_first_rank("check the output folder", [&] {
    make_folder(folder);
    probe.emplace(folder);
    write_file(probe->path, content);
    reserve_space(probe->path, bytes);
  });
  cluster.together("see the output folder from all nodes", [&] {
    if (cluster.local_rank() != 0 || appears(folder / ".moebius_probe", content)) return;
    throw ClusterError(
        fmt::format("{}: rank {} on {} does not see what rank 0 on {} writes there; job.output must lie on a "
                    "file system that all nodes share",
                    folder.string(), cluster.rank(), cluster.node().host, cluster.nodes().front().host));
  });
  probe.reset();
  cluster.barrier("output probe");  // gone for whoever looks next
}

void reserve_space(const std::filesystem::path& file, std::int64_t bytes) {
  // Looked at first: an attempt that must fail would take all that is left from everybody else meanwhile.
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  if (free_bytes(folder) < bytes) throw no_room(folder, bytes, ENOSPC);
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0)
    throw ClusterError(fmt::format("{}: cannot be opened: {}", file.string(), reason_of(errno)));
  const int status = ::fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, bytes);
  const int error = status == 0 ? 0 : errno;
  ::close(descriptor);
  if (means_full(error)) throw no_room(folder, bytes, error);
}

std::int64_t free_bytes(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto space = std::filesystem::space(folder, ignored);
  return ignored ? 0 : std::int64_t(space.available);
}

void give_space_back(const std::filesystem::path& file) {
  std::error_code ignored;
  const auto size = std::int64_t(std::filesystem::file_size(file, ignored));
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0 || size <= 0) return;
  if (::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size) != 0) {
    std::filesystem::resize_file(file, 0, ignored);
    std::filesystem::resize_file(file, std::uintmax_t(size), ignored);
  }
  ::close(descriptor);
}

}  // namespace moebius::checkpoint

#include "tests/fuzz/train_jobs.h"

#include <fcntl.h>
#include <unistd.h>

#include "cluster/mpi.h"
#include "commands/session.h"
#include "tests/fuzz/compare.h"
#include "tests/support/files.h"

namespace moebius::fuzz {
namespace {

/// What this process writes to stderr goes to a file until the end of the block.
class StderrTo {
 public:
  explicit StderrTo(const std::filesystem::path& path) : before_(::dup(STDERR_FILENO)) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(file, STDERR_FILENO);
    ::close(file);
  }
  StderrTo(const StderrTo&) = delete;
  StderrTo& operator=(const StderrTo&) = delete;
  ~StderrTo() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }

 private:
  int before_;
};

/// `moebius train <run>.toml` on the ranks of `cluster`. Rank 0 leaves the marks.
void train(const JobFolder& folder, const std::string& run, cluster::Cluster& cluster) {
  const bool marks = cluster.rank() == 0;
  if (marks) test::spill(folder.begun(run), "");
  {
    const StderrTo log(folder.log(run));
    const auto environment = cluster::Environment::of(environ);
    commands::Session session{cluster, environment, Log(int(cluster.rank()))};
    try {
      (void)commands::train({.job = {.file = folder.job(run).string(), .overrides = {}}}, session);
    } catch (const cluster::AgreedError& error) {
      if (marks) test::spill(folder.error(run), error.what());
    }
  }
  if (marks) test::spill(folder.done(run), "");
}

void compare(const JobFolder& folder) {
  for (const std::string& run : {kMesh, kAlone}) {
    if (std::filesystem::exists(folder.error(run))) return;
  }
  try {
    test::spill(folder.result(), differences(folder).dump());
  } catch (const std::exception& error) {
    test::spill(folder.error(kMesh), error.what());
  }
}

}  // namespace

int train_jobs(std::span<const JobFolder> folders) {
  cluster::Cluster world(cluster::Environment::of(environ));
  return int(world.conclude([&] {
    const auto is_mine = [&](std::size_t i) { return std::int64_t(i) % world.size() == world.rank(); };
    {
      cluster::Cluster alone(cluster::Communicator::duplicate(MPI_COMM_SELF));
      for (std::size_t i = 0; i < folders.size(); ++i) {
        if (is_mine(i) && !std::filesystem::exists(folders[i].done(kAlone))) train(folders[i], kAlone, alone);
      }
    }
    world.barrier("all are trained on one rank");
    for (std::size_t i = 0; i < folders.size(); ++i) {
      train(folders[i], kMesh, world);
      if (is_mine(i)) compare(folders[i]);
    }
    return ExitCode::done;
  }));
}

}  // namespace moebius::fuzz

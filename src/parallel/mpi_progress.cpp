#include "parallel/mpi_progress.h"

#include <chrono>

namespace moebius::parallel {
namespace {

constexpr int kUnusedTag = 9;  // no message has it
/// Between two looks; of the time of a core a look takes less than a hundredth of this.
constexpr std::chrono::microseconds kInterval{300};

bool any_thread_may_call() {
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  return level == MPI_THREAD_MULTIPLE;
}

}  // namespace

MpiProgress::MpiProgress(const cluster::Communicator& group) : group_(group) {
  if (group.size() > 1 && any_thread_may_call()) thread_ = std::thread([this] { run(); });
}

MpiProgress::~MpiProgress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void MpiProgress::open() {
  const std::lock_guard lock(mutex_);
  if (++open_ == 1) changed_.notify_one();
}

void MpiProgress::close() {
  const std::lock_guard lock(mutex_);
  --open_;
}

void MpiProgress::run() {
  std::unique_lock lock(mutex_);
  while (!ends_) {
    changed_.wait(lock, [this] { return ends_ || open_ > 0; });
    lock.unlock();
    // A look for a message that nobody sends moves all others. An error shows where they are waited for.
    int found = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, kUnusedTag, group_.get(), &found, MPI_STATUS_IGNORE);
    lock.lock();
    changed_.wait_for(lock, kInterval, [this] { return ends_; });
  }
}

}  // namespace moebius::parallel

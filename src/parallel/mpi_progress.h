#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "cluster/mpi.h"

namespace moebius::parallel {

/// Keeps messages moving while the rank computes. MPI moves a message that is larger than its first packet
/// only inside of calls, on both sides: without a thread that makes such calls, what was started arrives when
/// both sides wait for it, and nothing overlaps. (Open MPI has no such thread of its own.) The thread sleeps
/// where nothing is open, and does not exist where MPI lets only one thread call (below
/// MPI_THREAD_MULTIPLE).
class MpiProgress {
 public:
  /// `group`: any communicator of this process; nothing is received on it. It must outlive this object.
  explicit MpiProgress(const cluster::Communicator& group);
  MpiProgress(const MpiProgress&) = delete;
  MpiProgress& operator=(const MpiProgress&) = delete;
  ~MpiProgress();

  /// One exchange more that goes on beside the work, and one less.
  void open();
  void close();

 private:
  void run();

  const cluster::Communicator& group_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t open_ = 0;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace moebius::parallel

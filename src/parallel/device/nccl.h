#pragma once
#include <nccl.h>

#include <cstdint>
#include <string>

/// NCCL's handles as objects, and its status codes as exceptions.
namespace moebius::parallel {

/// Throws ClusterError with NCCL's own texts and the caller's place unless `status` is ncclSuccess.
void check(ncclResult_t status, const char* file = __builtin_FILE(), int line = __builtin_LINE());

/// "unhandled cuda error (the last message that NCCL has logged)".
[[nodiscard]] std::string nccl_error_text(ncclResult_t status, ncclComm_t communicator);

/// "2.28.9": of the library that runs.
[[nodiscard]] std::string nccl_version();

/// A communicator over the current GPU of each of its ranks.
class NcclCommunicator {
 public:
  struct Place {
    std::int64_t size, rank;
    std::string name;  // in NCCL's log
  };

  /// What the first rank tells the others.
  [[nodiscard]] static std::string new_id();
  /// Collective.
  NcclCommunicator(const Place& place, const std::string& id);
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() { ncclCommDestroy(handle_); }

  [[nodiscard]] ncclComm_t get() const { return handle_; }
  /// What went wrong since the last call, in the background; ncclSuccess where nothing did.
  [[nodiscard]] ncclResult_t background_error() const;
  /// Ends what is queued, so that the stream can be waited for; nothing can be called after it.
  void abort();

 private:
  std::string name_;  // NCCL may keep a pointer to it
  ncclComm_t handle_ = nullptr;
};

}  // namespace moebius::parallel

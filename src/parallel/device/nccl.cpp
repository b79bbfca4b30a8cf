#include "parallel/device/nccl.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "base/math.h"

namespace moebius::parallel {

std::string nccl_error_text(ncclResult_t status, ncclComm_t communicator) {
  const char* const last = ncclGetLastError(communicator);
  const std::string text = ncclGetErrorString(status);
  return last == nullptr || *last == '\0' ? text : fmt::format("{} ({})", text, last);
}

void check(ncclResult_t status, const char* file, int line) {
  if (status == ncclSuccess) return;
  throw ClusterError(
      fmt::format("NCCL failed at {}:{}: {}; NCCL_DEBUG=WARN in the environment makes it say more", file,
                  line, nccl_error_text(status, nullptr)));
}

std::string nccl_version() {
  int version = 0;
  check(ncclGetVersion(&version));
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string NcclCommunicator::new_id() {
  ncclUniqueId id;
  check(ncclGetUniqueId(&id));
  return {id.internal, sizeof(id.internal)};
}

NcclCommunicator::NcclCommunicator(const Place& place, const std::string& id) : name_(place.name) {
  ncclUniqueId unique{};
  std::copy_n(id.data(), std::min(id.size(), sizeof(unique.internal)), unique.internal);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  // Calls that block cost less to make than calls that a thread of NCCL's finishes and that must be asked
  // for; what blocks for ever is the watchdog's to end.
  config.blocking = 1;
  config.commName = name_.c_str();
  check(ncclCommInitRankConfig(&handle_, narrow<int>(place.size), unique, narrow<int>(place.rank), &config));
}

ncclResult_t NcclCommunicator::background_error() const {
  ncclResult_t error = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(handle_, &error);
  if (asked != ncclSuccess) return asked;
  return error == ncclInProgress ? ncclSuccess : error;
}

void NcclCommunicator::abort() {
  if (handle_ != nullptr) ncclCommAbort(std::exchange(handle_, nullptr));
}

}  // namespace moebius::parallel

#include "training/hardware.h"

#include "parallel/device/exchange_device.h"

namespace moebius::training {
namespace {

/// Of a GPU: the context, and what cuBLAS, cuDNN and NCCL load and keep. Measured, see
/// tests/bench/gpu_slice.md.
constexpr std::int64_t kLibraryBytes = std::int64_t{900} << 20;

}  // namespace

Hardware<Space::device>::Hardware(const Compute& compute)
    : placement_(compute.placement.value()), device_(placement_.index) {}

std::unique_ptr<parallel::Exchange<Space::device>> Hardware<Space::device>::make_exchange(
    cluster::Cluster& cluster, const cluster::Mesh& mesh) {
  return parallel::make_device_exchange(cluster, mesh, placement_);
}

std::string Hardware<Space::device>::text() const {
  return parallel::describe(placement_);
}

std::int64_t Hardware<Space::device>::library_bytes() const {
  return kLibraryBytes;
}

}  // namespace moebius::training

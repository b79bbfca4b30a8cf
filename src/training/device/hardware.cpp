#include "training/hardware.h"

#include <fmt/format.h>

#include "base/text.h"
#include "parallel/device/exchange_device.h"

namespace moebius::training {
namespace {

// FLOPs a clock of one multiprocessor of compute capability 9.0, dense: tensor cores in bf16 (989 TFLOP/s of
// the H100's data sheet are 132 of them at 1.83 GHz), and plain fp32.
constexpr double kBf16FlopsAClock = 4096, kFp32FlopsAClock = 256;

}  // namespace

Hardware<Space::device>::Hardware(const Compute& compute)
    : placement_(compute.placement.value()), device_(placement_.index) {}

std::unique_ptr<parallel::Exchange<Space::device>> Hardware<Space::device>::make_exchange(
    cluster::Cluster& cluster, const cluster::Mesh& mesh) {
  return parallel::make_device_exchange(cluster, mesh, placement_);
}

std::optional<plan::Peaks> Hardware<Space::device>::peaks(plan::Precision precision) const {
  if (device_.clock_hertz() == 0 || device_.memory_bandwidth() == 0)
    return std::nullopt;  // drivers may hide it
  const double a_clock = precision == plan::Precision::bf16 ? kBf16FlopsAClock : kFp32FlopsAClock;
  return plan::Peaks{.flops = device_.multiprocessors() * device_.clock_hertz() * a_clock,
                     .bytes = device_.memory_bandwidth()};
}

std::string Hardware<Space::device>::peaks_text() const {
  return fmt::format("{} SMs at {:.2f} GHz, memory at {:.2f} TB/s", device_.multiprocessors(),
                     device_.clock_hertz() / 1e9, device_.memory_bandwidth() / 1e12);
}

std::string Hardware<Space::device>::used_text() const {
  return fmt::format("{} of the GPU's {} in use", bytes_text(device_.memory_bytes() - device_.free_bytes()),
                     bytes_text(device_.memory_bytes()));
}

std::string Hardware<Space::device>::text() const {
  return parallel::describe(placement_);
}

}  // namespace moebius::training

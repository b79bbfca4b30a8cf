#include "training/hardware.h"

#include "parallel/device/exchange_device.h"

namespace moebius::training {
Hardware<Space::device>::Hardware(const Compute& compute)
    : placement_(compute.placement.value()), device_(placement_.index) {}

std::unique_ptr<parallel::Exchange<Space::device>> Hardware<Space::device>::make_exchange(
    cluster::Cluster& cluster, const cluster::Mesh& mesh) {
  return parallel::make_device_exchange(cluster, mesh, placement_);
}

std::string Hardware<Space::device>::text() const {
  return parallel::describe(placement_);
}

}  // namespace moebius::training

#pragma once
#include <optional>

#include "parallel/device/exchange_nccl.h"
#include "parallel/device/exchange_staged.h"
#include "parallel/placement.h"

/// Device memory between ranks, in the order of a start:
///   1. nccl_environment()      set by commands/, before anything else
///   2. place_devices(cluster)  which GPU is this rank's
///   3. kernels::Device(placement.index)
///   4. make_device_exchange(cluster, mesh, placement)
namespace moebius::parallel {

/// Nothing where no rank sees a GPU. Collective; throws AgreedError where only some ranks do.
[[nodiscard]] std::optional<DevicePlacement> place_devices(cluster::Cluster& cluster);

enum class DeviceBackend : std::uint8_t { local, staged, nccl };

/// local for one rank, staged where ranks share a GPU, else nccl.
[[nodiscard]] DeviceBackend backend_of(const DevicePlacement& placement);

/// Collective over all ranks; `cluster` must outlive it. The GPU of each rank is the current one.
[[nodiscard]] std::unique_ptr<Exchange<Space::device>> make_device_exchange(cluster::Cluster& cluster,
                                                                            const Mesh& mesh,
                                                                            const DevicePlacement& placement);

/// "8 ranks on 1 GPU (NVIDIA H200), exchange through host memory", "2 ranks on 2 GPUs (NVIDIA H200), NCCL
/// 2.28.9": for the log.
[[nodiscard]] std::string describe(const DevicePlacement& placement);

}  // namespace moebius::parallel

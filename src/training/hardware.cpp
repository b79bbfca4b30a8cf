#include "training/hardware.h"

#include "base/process.h"
#include "base/text.h"
#include "job/write.h"
#include "parallel/exchange_mpi.h"
#if MOEBIUS_CUDA
#include "parallel/device/exchange_device.h"
#endif

namespace moebius::training {
namespace {

#if MOEBIUS_CUDA
constexpr const char* kNoDevice = "no GPU was found on any node";
std::optional<parallel::DevicePlacement> find_devices(cluster::Cluster& cluster) {
  return parallel::place_devices(cluster);
}
std::vector<std::pair<std::string, std::string>> nccl_environment() {
  return parallel::nccl_environment();
}
#else
constexpr const char* kNoDevice = "this moebius was built without CUDA";
std::optional<parallel::DevicePlacement> find_devices(cluster::Cluster&) {
  return std::nullopt;
}
std::vector<std::pair<std::string, std::string>> nccl_environment() {
  return {};
}
#endif

PlatformName device_platform(const ComputeWish& wish) {
  if (wish.precision == job::Precision::fp32) return PlatformName::device_fp32;
  return wish.gradients == job::StateType::bf16 ? PlatformName::device_bf16_gradients
                                                : PlatformName::device_bf16;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> library_environment() {
  return nccl_environment();
}

ComputeWish wish_of(const job::Job& job) {
  return {
      .device = job.model.device,
      .precision = job.model.precision,
      .gradients = job.optimizer.gradients,
      .device_text = job.place_of("model.device") + "  " + job::setting_text(job, "model.device"),
      .precision_text = job.place_of("model.precision") + "  " + job::setting_text(job, "model.precision")};
}

Compute choose_compute(const ComputeWish& wish, cluster::Cluster& cluster) {
  Compute compute;
  if (wish.device != job::Device::cpu) compute.placement = find_devices(cluster);
  if (compute.placement) {
    compute.platform = device_platform(wish);
    return compute;
  }
  if (wish.device == job::Device::cuda) {
    throw cluster::AgreedError(ExitCode::cluster,
                               wish.device_text + ": " + kNoDevice + "; use auto or cpu to compute on CPUs");
  }
  if (wish.precision == job::Precision::bf16) {
    const std::string why = wish.device == job::Device::cpu ? "" : std::string(" (") + kNoDevice + ")";
    throw cluster::AgreedError(ExitCode::usage,
                               wish.precision_text + ": CPUs compute in fp32" + why + "; use auto or fp32");
  }
  return compute;
}

std::unique_ptr<parallel::Exchange<Space::host>> Hardware<Space::host>::make_exchange(
    cluster::Cluster& cluster, const cluster::Mesh& mesh) {
  return parallel::make_mpi_exchange(cluster, mesh);
}

std::string Hardware<Space::host>::used_text() const {
  return bytes_text(peak_resident_bytes()) + " at the most in this process";
}

std::int64_t Hardware<Space::host>::memory_bytes() const {
  return machine_memory_bytes();
}

}  // namespace moebius::training

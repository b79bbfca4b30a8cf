#pragma once
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "cluster/cluster.h"
#include "job/job.h"
#include "kernels/device/device.h"
#include "parallel/exchange.h"
#include "parallel/placement.h"
#include "plan/work.h"
#include "tensor/platform.h"

/// What a job or a command computes on: decided once, the same on all ranks.
namespace moebius::training {

/// What the user asked for, and what it is called in messages.
struct ComputeWish {
  job::Device device = job::Device::automatic;
  job::Precision precision = job::Precision::automatic;
  job::StateType gradients = job::StateType::fp32;
  std::string device_text = "--device", precision_text = "--precision";
};
[[nodiscard]] ComputeWish wish_of(const job::Job& job);

enum class PlatformName : std::uint8_t { host_fp32, device_fp32, device_bf16, device_bf16_gradients };

struct Compute {
  PlatformName platform = PlatformName::host_fp32;
  std::optional<parallel::DevicePlacement> placement;  // on devices

  [[nodiscard]] bool on_device() const { return platform != PlatformName::host_fp32; }
  [[nodiscard]] bool in_bf16() const { return on_device() && platform != PlatformName::device_fp32; }
};

/// "auto" is a GPU where every rank has one, and bf16 there. Collective; throws AgreedError where the wish
/// cannot be fulfilled: bf16 on CPUs (usage), a GPU where there is none (cluster).
[[nodiscard]] Compute choose_compute(const ComputeWish& wish, cluster::Cluster& cluster);

/// Environment variables that must be set before the first call of a GPU library, unless they are set
/// already.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> library_environment();

/// This rank's share of the machine.
template <Space S>
class Hardware;

template <>
class Hardware<Space::host> {
 public:
  explicit Hardware(const Compute&) {}
  [[nodiscard]] Queue<Space::host> queue() { return {}; }
  [[nodiscard]] std::unique_ptr<parallel::Exchange<Space::host>> make_exchange(cluster::Cluster& cluster,
                                                                               const cluster::Mesh& mesh);
  /// For the log: nothing to say.
  [[nodiscard]] std::string text() const { return "CPU"; }
  /// Of a CPU nobody says.
  [[nodiscard]] std::optional<plan::Peaks> peaks(plan::Precision) const { return std::nullopt; }
  [[nodiscard]] std::string peaks_text() const { return {}; }
  /// "1.2 GiB at the most in this process".
  [[nodiscard]] std::string used_text() const;
  /// Memory that ranks share, and how many of them.
  [[nodiscard]] std::int64_t memory_bytes() const;
  [[nodiscard]] std::int64_t sharing_ranks(const cluster::Cluster& cluster) const {
    return std::int64_t(cluster.node().ranks.size());
  }
};

template <>
class Hardware<Space::device> {
 public:
  explicit Hardware(const Compute& compute);
  [[nodiscard]] Queue<Space::device> queue() { return device_.queue(); }
  [[nodiscard]] std::unique_ptr<parallel::Exchange<Space::device>> make_exchange(cluster::Cluster& cluster,
                                                                                 const cluster::Mesh& mesh);
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::optional<plan::Peaks> peaks(plan::Precision precision) const;
  [[nodiscard]] std::string peaks_text() const;  // where they are from
  [[nodiscard]] std::string used_text() const;   // of the GPU's memory, by all ranks that share it
  [[nodiscard]] std::int64_t memory_bytes() const { return device_.memory_bytes(); }
  [[nodiscard]] std::int64_t sharing_ranks(const cluster::Cluster&) const { return placement_.most_ranks; }

 private:
  parallel::DevicePlacement placement_;
  kernels::Device device_;
};

template <class P>
inline constexpr PlatformName kNameOf = [] { static_assert(sizeof(P) == 0, "no name for this platform"); }();
template <>
inline constexpr PlatformName kNameOf<HostFp32> = PlatformName::host_fp32;
template <>
inline constexpr PlatformName kNameOf<DeviceFp32> = PlatformName::device_fp32;
template <>
inline constexpr PlatformName kNameOf<DeviceBf16> = PlatformName::device_bf16;
template <>
inline constexpr PlatformName kNameOf<DeviceBf16Gradients> = PlatformName::device_bf16_gradients;

/// run(std::type_identity<P>{}) for the platform of that name.
template <class Run>
auto on_platform(PlatformName name, const Run& run) {
#define MOEBIUS_RUN_ON(P) \
  if (name == kNameOf<P>) return run(std::type_identity<P>{});
  MOEBIUS_EACH_PLATFORM(MOEBIUS_RUN_ON)
#undef MOEBIUS_RUN_ON
  throw std::logic_error("a platform that is not in this build");
}

}  // namespace moebius::training

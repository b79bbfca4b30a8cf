#include "parallel/device/exchange_device.h"

#include <fmt/format.h>
#include <sstream>

#include "kernels/device/device.h"
#include "parallel/device/nccl.h"
#include "parallel/exchange_mpi.h"

namespace moebius::parallel {
namespace {

/// A line a GPU: its bus id, a space, its name.
std::string text_of_visible_gpus() {
  std::string text;
  for (const kernels::VisibleGpu& gpu : kernels::visible_gpus()) text += gpu.bus_id + ' ' + gpu.name + '\n';
  return text;
}

std::vector<SeenGpu> parse_gpus(const std::string& text) {
  std::vector<SeenGpu> gpus;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    gpus.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return gpus;
}

}  // namespace

std::optional<DevicePlacement> place_devices(cluster::Cluster& cluster) {
  std::vector<std::vector<SeenGpu>> seen;
  for (const std::string& text : cluster.all_gather("GPUs", text_of_visible_gpus()))
    seen.push_back(parse_gpus(text));
  return cluster.together("choose the GPUs",
                          [&] { return place_ranks(cluster.nodes(), seen, cluster.rank()); });
}

DeviceBackend backend_of(const DevicePlacement& placement) {
  if (placement.ranks == 1) return DeviceBackend::local;
  return placement.most_ranks > 1 ? DeviceBackend::staged : DeviceBackend::nccl;
}

std::unique_ptr<Exchange<Space::device>> make_device_exchange(cluster::Cluster& cluster, const Mesh& mesh,
                                                              const DevicePlacement& placement) {
  switch (backend_of(placement)) {
    case DeviceBackend::local: break;
    case DeviceBackend::staged: return make_staged_exchange(make_mpi_exchange(cluster, mesh));
    case DeviceBackend::nccl: return make_nccl_exchange(cluster, mesh);
  }
  return make_local_exchange<Space::device>();
}

std::string describe(const DevicePlacement& placement) {
  const auto count = [](std::int64_t number, const char* what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
  };
  std::string text = fmt::format("{} on {} ({})", count(placement.ranks, "rank"),
                                 count(placement.gpus, "GPU"), placement.names);
  switch (backend_of(placement)) {
    case DeviceBackend::local: break;
    case DeviceBackend::staged: return text + ", exchange through host memory";
    case DeviceBackend::nccl: return text + ", NCCL " + nccl_version();
  }
  return text;
}

}  // namespace moebius::parallel

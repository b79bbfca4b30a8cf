#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cluster/cluster.h"
#include "parallel/device/exchange_device.h"
#include "parallel/exchange_mpi.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

namespace moebius::parallel {

/// A rank with its GPU, which other ranks may use too.
struct DeviceRig {
  cluster::Cluster cluster{cluster::Environment()};
  DevicePlacement placement = place_devices(cluster).value();
  kernels::Device device{placement.index};

  /// With a tensor and an expert axis, so that groups differ from axis to axis where the ranks suffice.
  [[nodiscard]] Mesh mesh() const {
    const std::int64_t size = cluster.size(), tensor = size % 2 == 0 ? 2 : 1;
    return Mesh(size, cluster.rank(), {.tensor = tensor, .expert = size / tensor});
  }
  /// What this job would take, and the staged exchange with calls cut small, which works on any GPUs.
  [[nodiscard]] std::vector<std::unique_ptr<Exchange<Space::device>>> exchanges(const Mesh& mesh) {
    std::vector<std::unique_ptr<Exchange<Space::device>>> all;
    all.push_back(make_device_exchange(cluster, mesh, placement));
    all.push_back(make_staged_exchange(make_mpi_exchange(cluster, mesh), {.segment_bytes = 4096}));
    return all;
  }
};

/// Values on the device; waits until they are there.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : tensor_({std::int64_t(values.size())}) {
    if (!values.empty())
      check(cudaMemcpy(tensor_.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    check(cudaDeviceSynchronize());
  }
  /// Without values: what is not written shows.
  explicit OnDevice(std::int64_t count) : tensor_({count}) {
    test::poison(tensor_);
    check(cudaDeviceSynchronize());
  }
  [[nodiscard]] View<T, 1, Space::device> view() const { return tensor_.view(); }
  [[nodiscard]] View<T, 2, Space::device> rows(std::int64_t width) const {
    return {tensor_.data(), {tensor_.count() / width, width}};
  }
  /// Waits for everything on the device.
  [[nodiscard]] std::vector<T> values() const { return test::values_of<T>(tensor_); }

 private:
  test::DeviceTensor<T, 1> tensor_;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
View<T, 1, Space::host> host_view(std::vector<T>& values) {
  return {values.data(), {std::int64_t(values.size())}};
}

}  // namespace moebius::parallel

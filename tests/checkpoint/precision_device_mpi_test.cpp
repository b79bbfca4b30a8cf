#include "kernels/device/device.h"
#include "tests/checkpoint/precision_cases.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// The ranks share the GPUs of this node.
int gpu_of(const cluster::Cluster& cluster) {
  return int(cluster.rank()) % kernels::device_count();
}

}  // namespace

TEST_CASE("what bf16 weights on the device wrote resumes with the same bits, and in fp32", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  kernels::Device device(gpu_of(cluster));
  test::check_bf16_files(cluster, device.queue());
}

TEST_CASE("what fp32 weights on the host wrote resumes in bf16 on the device", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  kernels::Device device(gpu_of(cluster));
  test::check_fp32_files(cluster, device.queue());
}

TEST_CASE("bf16 weights saved without the optimizer are their own truth", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  kernels::Device device(gpu_of(cluster));
  test::check_bf16_weights_alone(cluster, device.queue());
}

#include "kernels/device/device.h"
#include "tests/hub/bf16_cases.h"

using namespace moebius;

TEST_CASE("a folder of any type fills weights in bf16 on the device and what keeps their fp32 values") {
  cluster::Cluster cluster{cluster::Environment()};
  kernels::Device device(int(cluster.rank()) % kernels::device_count());  // ranks share the GPUs
  test::check_bf16_weights(cluster, device.queue());
}

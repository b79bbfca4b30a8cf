#include "tests/hub/bf16_cases.h"

using namespace moebius;

TEST_CASE("a folder of any type fills weights in bf16 and what keeps their fp32 values") {
  cluster::Cluster cluster{cluster::Environment()};
  test::check_bf16_weights(cluster, Queue<Space::host>());
}

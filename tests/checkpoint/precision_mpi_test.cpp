#include "tests/checkpoint/precision_cases.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("what bf16 weights wrote resumes with the same bits, and in fp32", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  test::check_bf16_files(cluster, Queue<Space::host>());
}

TEST_CASE("what fp32 weights wrote resumes in bf16", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  test::check_fp32_files(cluster, Queue<Space::host>());
}

TEST_CASE("bf16 weights saved without the optimizer are their own truth", "[checkpoint]") {
  cluster::Cluster cluster{cluster::Environment()};
  test::check_bf16_weights_alone(cluster, Queue<Space::host>());
}

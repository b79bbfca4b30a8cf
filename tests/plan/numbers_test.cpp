#include "plan/numbers.h"

#include "tests/models/tiny_configs.h"
#include "tests/plan/slice.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("parameters are those of the published model", "[plan]") {
  const plan::ModelNumbers numbers = plan::numbers_of(test::slice_of_30b(48));
  CHECK(numbers.parameters == 30'532'122'624);
  // All but the embedding and the norms; 8 of 128 experts.
  const std::int64_t layer = 18'874'368 + 262'144 + 8 * 4'718'592;
  CHECK(numbers.met == 48 * layer + 151'936 * 2048);
}

TEST_CASE("FLOPs are counted as tests/bench/gpu_slice/flops.py does", "[plan]") {
  CHECK(plan::flops_a_token(test::slice_of_30b(8), 4096) == 5'402'787'840.0);
}

TEST_CASE("a tied embedding is an output projection too", "[plan]") {
  models::ModelConfig config = test::tiny_dense();
  const std::int64_t table = config.vocab * config.hidden;
  const plan::ModelNumbers apart = plan::numbers_of(config);
  config.tied_embeddings = true;
  const plan::ModelNumbers tied = plan::numbers_of(config);
  CHECK(tied.met == apart.met);
  CHECK(tied.parameters == apart.parameters - table);
}

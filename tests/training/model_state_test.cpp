#include "training/model_state.h"

#include "plan/plan.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("a model in training takes what the plan says", "[training]") {
  for (const models::ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    job::Job job;
    job.data.max_length = 64;
    const plan::Machine machine{.memory = 1 << 30, .name = "the node"};
    const models::ModelMemory planned = plan::need_on({}, {job, config, 1, 64, machine}).memory;
    training::ModelState<HostFp32> state(job, config, parallel::make_local_exchange<Space::host>(), {});
    state.reserve(planned);
    CHECK(state.weight_memory.peak_bytes() == planned.weights);
    CHECK(state.gradient_memory.peak_bytes() == planned.gradients);
    constexpr std::int64_t kScalars = 2 * 64;  // the sum of squares and what gradients are multiplied by
    CHECK(state.optimizer_memory.peak_bytes() == planned.moments + planned.truth + kScalars);
    CHECK(state.activations.peak_bytes() == 0);
  }
}

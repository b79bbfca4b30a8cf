#include "plan/plan.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"
#include "training/model_state.h"

using namespace moebius;

namespace {

constexpr std::int64_t kScalars = 2 * 64;  // the sum of squares and what gradients are multiplied by

/// Moments and master values that a rank of such a mesh has taken.
std::int64_t state_bytes(const models::ModelConfig& config, const cluster::Mesh& mesh,
                         std::unique_ptr<parallel::Exchange<Space::host>> exchange) {
  job::Job job;
  job.data.max_length = 64;
  job.train.global_batch_size = 8;
  job.parallel.expert = mesh.degrees().expert;
  const training::ModelState<HostFp32> state(job, config, std::move(exchange), {});
  return state.optimizer_memory.peak_bytes() - kScalars;
}

}  // namespace

TEST_CASE("the ranks of a mesh keep the optimizer's state of a model once", "[training]") {
  cluster::Cluster cluster{cluster::Environment()};
  const std::int64_t ranks = cluster.size();
  const plan::Machine machine{.memory = 1 << 30, .name = "the node"};
  for (const models::ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    const std::int64_t alone = state_bytes(config, {}, parallel::make_local_exchange<Space::host>());
    std::vector<std::int64_t> expert_degrees{1};
    if (config.experts > 0 && config.experts % ranks == 0) expert_degrees.push_back(ranks);
    for (const std::int64_t expert : expert_degrees) {
      const cluster::Mesh mesh(ranks, cluster.rank(), {.expert = expert});
      const std::int64_t own = state_bytes(config, mesh, parallel::make_mpi_exchange(cluster, mesh));
      INFO(mesh.text());
      // Blocks, two a layer, end at multiples of 128 elements; there are two moments of 4 bytes.
      const std::int64_t ends = 2 * 4 * 128 * 2 * (config.layers + 1);
      CHECK(own * ranks >= alone);
      CHECK(own * ranks <= alone + ends * ranks);
      job::Job job;
      job.data.max_length = 64;
      job.train.global_batch_size = 8;
      job.parallel.expert = expert;
      CHECK(own == plan::need_on(mesh, {job, config, ranks, 64, machine}).memory.moments);
    }
  }
}

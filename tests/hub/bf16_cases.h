#pragma once
#include "hub/weights.h"
#include "tests/hub/test_model.h"
#include "tests/models/weight_cases.h"
#include "tests/support/catch.h"
#include "tests/support/shared_temporary_folder.h"

namespace moebius::test {

/// A folder of any type, loaded into bf16 weights in space S on every mesh: all its numbers are exact in
/// bf16, so weights and their fp32 values are those of the folder, and nothing is left where no weight lies.
template <Space S>
void check_bf16_weights(cluster::Cluster& cluster, Queue<S> queue) {
  const SharedTemporaryFolder folder(cluster);
  const models::ParameterTable table = small_table();
  for (const Dtype dtype : {Dtype::bfloat16, Dtype::float16, Dtype::float32}) {
    if (cluster.rank() == 0)
      write_bytes(folder.path() / "model.safetensors",
                  safetensors_bytes(small_hub_tensors(table, std::vector<Dtype>(table.size(), dtype))));
    cluster.barrier("source");
    const hub::HubFolder stored(folder.path());
    const hub::HubWeights source(stored, table);
    for (const auto truth : {models::Truth::weights, models::Truth::master, models::Truth::remainder}) {
      for (std::int64_t tensor = 1; tensor <= cluster.size(); tensor *= 2) {
        const cluster::Mesh mesh(cluster.size(), cluster.rank(), {.tensor = tensor});
        CAPTURE(mesh.text(), cluster.rank(), name_of(dtype));
        test::OwnedWeights<bf16, S> weights(table, mesh, truth, queue);
        const auto& state = weights.state;
        hub::load_weights(source, state, queue);
        models::ShardDownload<S> rounded(models::AnyShards<S>(state.weights), queue);
        for (std::size_t row = 0; row < table.size(); ++row) {
          const auto expected = small_shard(table, row, weights.layout.row(row).slab);
          std::vector<bf16> narrow(expected.size());
          const models::Run all{0, 0, weights.layout.row(row).size};
          rounded.get(row, {&all, 1}, reinterpret_cast<std::byte*>(narrow.data()));
          const bool owns_all = state.ownership() == nullptr;
          CHECK(weights.values(row) == (owns_all ? expected : weights.owned_of(row, expected)));
          CHECK(std::vector<float>(narrow.begin(), narrow.end()) == expected);
        }
      }
    }
    cluster.barrier("loaded");
  }
}

}  // namespace moebius::test

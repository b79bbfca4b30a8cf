#include <algorithm>
#include <cmath>

#include "optimizer/optimizer.h"
#include "parallel/exchange_mpi.h"
#include "tensor/random.h"
#include "tests/optimizer/tables.h"
#include "tests/support/catch.h"

using namespace moebius;
using cluster::Cluster;
using cluster::Degrees;
using cluster::Mesh;
using test::Approx;
using Shards = models::Shards<float, Space::host>;

namespace {

std::vector<Degrees> meshes_of(std::int64_t ranks) {
  std::vector<Degrees> meshes;
  for (std::int64_t tensor = 1; tensor <= ranks; tensor *= 2) {
    for (std::int64_t expert = 1; expert <= ranks; expert *= 2)
      meshes.push_back({.tensor = tensor, .expert = expert});
  }
  return meshes;
}

/// A whole number, so that sums of a few are exact: the gradient of an element without its rank's part.
float base_gradient(std::size_t parameter, std::int64_t index) {
  return float(Random{3, RandomStream::sampling, std::uint32_t(parameter)}.below(17, std::uint64_t(index))) -
         8;
}

/// The ranks that hold the same shard as `mesh`'s rank.
std::vector<std::int64_t> holders(const models::Parameter& parameter, const Mesh& mesh) {
  std::vector<std::int64_t> ranks;
  const auto mine = models::local_slab(parameter, mesh);
  for (std::int64_t rank = 0; rank < mesh.size(); ++rank) {
    if (models::local_slab(parameter, Mesh(mesh.size(), rank, mesh.degrees())).ranges == mine.ranges)
      ranks.push_back(rank);
  }
  return ranks;
}

template <class Visit>
void for_elements(const Shards& shards, Visit&& visit) {
  const auto& layout = shards.layout();
  for (std::size_t i = 0; i < layout.count(); ++i) {
    for (const auto& run : models::runs_of(layout.table()[i], layout.row(i).slab)) {
      for (std::int64_t k = 0; k < run.count; ++k) visit(i, run.whole + k, shards[i](run.local + k));
    }
  }
}

/// The same for the elements that this rank owns.
template <class Visit>
void for_owned(const models::Ownership& ownership, const Shards& shards, Visit&& visit) {
  for_elements(shards, [&](std::size_t i, std::int64_t index, float& x) {
    const std::int64_t place = &x - shards.flat().data;
    if (!ownership.owned({place, place + 1}).empty()) visit(i, index, x);
  });
}

struct Rig {
  models::ShardLayout layout;
  models::Ownership ownership;
  Arena<Space::host> arena{"test"};
  Staging<Space::host> staging{"staging"};
  Shards weights{layout, arena}, gradients{layout, arena};

  /// Buckets so short that every parameter is cut.
  explicit Rig(const Mesh& mesh)
      : layout(test::small_table(), mesh), ownership(layout, mesh, {.bucket = 100, .least_part = 1}) {
    models::initialise(weights, 5);
    std::fill_n(gradients.flat().data, gradients.flat().size(), 0.f);
  }
  optimizer::StepResult step(optimizer::Adam<HostFp32>& adam, const optimizer::StepValues& values) {
    const models::WeightState<float, Space::host> state{.weights = weights, .master = {}, .remainder = {}};
    const auto queued = adam.step(values, state, gradients, staging);
    adam.wait_for_all_weights({});
    return queued.result();
  }
};

}  // namespace

TEST_CASE("gradients are summed over exactly the ranks that hold the shard", "[optimizer][gradients]") {
  Cluster cluster{cluster::Environment()};
  for (const Degrees& degrees : meshes_of(cluster.size())) {
    const Mesh mesh(cluster.size(), cluster.rank(), degrees);
    const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
    Rig rig(mesh);
    for_elements(rig.gradients, [&](std::size_t i, std::int64_t index, float& g) {
      g = base_gradient(i, index) * float(cluster.rank() + 1);
    });
    optimizer::GradientSum<float, Space::host> sum(rig.ownership, *exchange, rig.arena);
    if (degrees.tensor > 1) {  // some early, in an order of its own
      for (const char* name : {"final_norm", "experts.down", "router", "norm"})
        sum.start(name, rig.gradients, {});
    }
    sum.finish(rig.gradients, {});

    std::vector<float> weight;  // of each parameter: the sum of its holders' parts
    for (const auto& parameter : rig.layout.table()) {
      weight.push_back(0);
      for (const std::int64_t rank : holders(parameter, mesh)) weight.back() += float(rank + 1);
    }
    std::int64_t wrong = 0, owned = 0;
    for_owned(rig.ownership, rig.gradients, [&](std::size_t i, std::int64_t index, float g) {
      wrong += g != base_gradient(i, index) * weight[i];
      ++owned;
    });
    INFO(mesh.text());
    REQUIRE(wrong == 0);
    CHECK(owned > 0);
  }
}

TEST_CASE("norm and step do not depend on the mesh", "[optimizer][adam]") {
  Cluster cluster{cluster::Environment()};
  const optimizer::AdamSettings settings{.clip_norm = 3};
  const auto local = parallel::make_local_exchange<Space::host>();
  for (const Degrees& degrees : meshes_of(cluster.size())) {
    const Mesh mesh(cluster.size(), cluster.rank(), degrees);
    const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
    Rig rig(mesh), whole{Mesh()};
    optimizer::Adam<HostFp32> adam(rig.ownership, settings, *exchange, rig.arena);
    optimizer::Adam<HostFp32> whole_adam(whole.ownership, settings, *local, whole.arena);
    for (std::int64_t k = 0; k < 3; ++k) {
      for_elements(rig.gradients, [&](std::size_t i, std::int64_t index, float& g) {
        g = base_gradient(i, index + k) / float(holders(rig.layout.table()[i], mesh).size());
      });
      for_elements(whole.gradients,
                   [&](std::size_t i, std::int64_t index, float& g) { g = base_gradient(i, index + k); });
      const auto split = rig.step(adam, {.iteration = k, .lr = 0.1});
      const auto expected = whole.step(whole_adam, {.iteration = k, .lr = 0.1});
      INFO(mesh.text());
      REQUIRE(split.gradient_norm == Approx(expected.gradient_norm).epsilon(1e-13));
    }
    double farthest = 0;
    for_elements(rig.weights, [&](std::size_t i, std::int64_t index, float w) {
      farthest = std::max(farthest, double(std::abs(w - whole.weights[i](index))));
    });
    CHECK(farthest < 1e-6);
  }
}

TEST_CASE("a gradient that is not a number on one rank is known on all", "[optimizer][adam]") {
  Cluster cluster{cluster::Environment()};
  const Mesh mesh(cluster.size(), cluster.rank(), {.expert = cluster.size()});
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  Rig rig(mesh);
  if (cluster.rank() == cluster.size() - 1) rig.gradients[6](0) = NAN;
  optimizer::Adam<HostFp32> adam(rig.ownership, {}, *exchange, rig.arena);
  CHECK_FALSE(rig.step(adam, {}).is_finite());
}

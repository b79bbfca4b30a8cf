#include <cmath>

#include "cluster/cluster.h"
#include "layers/ring_attention.h"
#include "parallel/exchange_mpi.h"
#include "tests/models/ring_case.h"
#include "tests/support/catch.h"

// Attention over a ring of all ranks against the kernel on whole samples, which every rank computes alone.

using namespace moebius;
using test::Tensor;

namespace {

void check_rows(const Tensor<float, 2>& here, const std::vector<std::int32_t>& tokens,
                const Tensor<float, 2>& whole, double tolerance) {
  double worst = 0;
  for (std::int64_t row = 0; row < here.shape()[0]; ++row) {
    for (std::int64_t c = 0; c < here.shape()[1]; ++c) {
      const bool is_padding = row >= std::int64_t(tokens.size());
      const float expected = is_padding ? 0 : whole.view()(tokens[std::size_t(row)], c);
      const double difference = std::abs(double(here.view()(row, c)) - double(expected));
      worst = difference <= worst ? worst : difference;
    }
  }
  CHECK(worst < tolerance);
}

void check_samples(cluster::Cluster& cluster, const std::vector<std::int32_t>& lengths) {
  const std::int64_t size = cluster.size();
  CAPTURE(size, lengths);
  const cluster::Mesh mesh(size, cluster.rank(), {.context = size});
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  const test::WholeSamples whole(lengths);
  whole.run();
  const models::HostBatch batch = whole.share(mesh);
  const auto places = batch.view().places;
  const std::vector<std::int32_t>& tokens = batch.target_tokens();  // every token has one
  REQUIRE(std::int64_t(tokens.size()) == batch.real_tokens().here);
  test::WholeSamples here({std::int32_t(batch.tokens())});
  for (const auto* input : {&here.q, &here.k, &here.v, &here.dy}) test::fill(*input, 0.0f);
  for (const auto* output : {&here.y, &here.log_sum_exp, &here.dq, &here.dk, &here.dv})
    test::fill(*output, 99.0f);
  test::take_rows(whole.q, tokens, here.q), test::take_rows(whole.k, tokens, here.k);
  test::take_rows(whole.v, tokens, here.v), test::take_rows(whole.dy, tokens, here.dy);

  Arena<Space::host> activations("activations"), workspace("workspace");
  Staging<Space::host> staging("staging");
  layers::Context<HostFp32> context{*exchange, activations, activations, workspace, staging, {}};
  layers::ring_attention_forward<HostFp32>(test::forward_of(here, places.segments), places.remote, "ring",
                                           context);
  check_rows(here.y, tokens, whole.y, 1e-5);
  check_rows(here.log_sum_exp, tokens, whole.log_sum_exp, 1e-5);
  const std::int64_t pair =
      2 * batch.tokens() * whole.sizes.kv_heads * whole.sizes.head_dim * std::int64_t(sizeof(float));
  CHECK(exchange->traffic(cluster::Axis::context).bytes == (size - 1) * pair);

  layers::ring_attention_backward<HostFp32>(test::backward_of(here, places.segments), places.remote, "ring",
                                            context);
  check_rows(here.dq, tokens, whole.dq, 1e-5);
  check_rows(here.dk, tokens, whole.dk, 3e-5);
  check_rows(here.dv, tokens, whole.dv, 3e-5);
  const std::int64_t of_gradients = size == 1 ? 0 : size * pair;
  CHECK(exchange->traffic(cluster::Axis::context).bytes == 2 * (size - 1) * pair + of_gradients);
  CHECK(workspace.used_bytes() == 0);
}

}  // namespace

TEST_CASE("attention over a ring of ranks equals attention of whole samples", "[models][context][mpi]") {
  cluster::Cluster cluster{cluster::Environment()};
  check_samples(cluster, {200});
  check_samples(cluster, {1});
  check_samples(cluster, {1, 1, 2, 3, 1, 1, 2, 5});  // shorter than the chunks of most meshes
  check_samples(cluster, {17, 130, 1, 64, 3, 77});
  check_samples(cluster, {64, 64, 128});
  check_samples(cluster, {});
}

#include <cmath>

#include "cluster/cluster.h"
#include "layers/ring_attention.h"
#include "models/batch.h"
#include "parallel/exchange_mpi.h"
#include "tests/support/catch.h"
#include "tests/support/tensors.h"

// Attention over a ring of all ranks against the kernel on whole samples, which every rank computes alone.

using namespace moebius;
using test::Tensor;

namespace {

constexpr std::int64_t kHeads = 4, kKvHeads = 2, kHeadDim = 16;

/// Samples of these lengths, end to end, and what attention of them takes and gives.
struct Whole {
  std::vector<std::int32_t> starts{0}, ids, positions, targets;
  std::int64_t rows;
  Tensor<float, 2> q, k, v, dy, y, log_sum_exp, dq, dk, dv;

  explicit Whole(const std::vector<std::int32_t>& lengths)
      : rows(list(lengths)),
        q({rows, kHeads * kHeadDim}),
        k({rows, kKvHeads * kHeadDim}),
        v(k.shape()),
        dy(q.shape()),
        y(q.shape()),
        log_sum_exp({rows, kHeads}),
        dq(q.shape()),
        dk(k.shape()),
        dv(k.shape()) {
    fill_normal(q, 1, 2), fill_normal(k, 2), fill_normal(v, 3), fill_normal(dy, 4);
  }
  [[nodiscard]] models::HostBatch share(const cluster::Mesh& mesh) const {
    return {{.ids = ids, .positions = positions, .targets = targets, .starts = starts},
            models::token_share<Space::host>(mesh)};
  }

 private:
  std::int64_t list(const std::vector<std::int32_t>& lengths) {
    for (const std::int32_t length : lengths) {
      for (std::int32_t i = 0; i < length; ++i) positions.push_back(i);
      starts.push_back(starts.back() + length);
    }
    // The id and the target of a token are its place.
    for (std::int32_t t = 0; t < starts.back(); ++t) ids.push_back(t);
    targets = ids;
    return starts.back();
  }
};

/// Rows of a whole tensor that are here, padding as zeros.
void take_rows(const Tensor<float, 2>& whole, const std::vector<std::int32_t>& tokens,
               const Tensor<float, 2>& here) {
  for (std::size_t row = 0; row < tokens.size(); ++row)
    std::copy_n(&whole.view()(tokens[row], 0), whole.shape()[1], &here.view()(std::int64_t(row), 0));
}

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

/// The operations on `in`, with results in the same object.
template <class In>
kernels::AttentionForward<float, Space::host> forward_of(const In& in,
                                                         const kernels::Segments<Space::host>& segments) {
  return {.q = in.q.view(),
          .k = in.k.view(),
          .v = in.v.view(),
          .segments = segments,
          .y = in.y.view(),
          .log_sum_exp = in.log_sum_exp.view(),
          .heads = kHeads,
          .kv_heads = kKvHeads,
          .scale = 0.25f};
}
template <class In>
kernels::AttentionBackward<float, Space::host> backward_of(const In& in,
                                                           const kernels::Segments<Space::host>& segments) {
  return {.dy = in.dy.view(),
          .q = in.q.view(),
          .y = in.y.view(),
          .k = in.k.view(),
          .v = in.v.view(),
          .segments = segments,
          .log_sum_exp = in.log_sum_exp.view(),
          .dq = in.dq.view(),
          .dk = in.dk.view(),
          .dv = in.dv.view(),
          .heads = kHeads,
          .kv_heads = kKvHeads,
          .scale = 0.25f};
}

void check_samples(cluster::Cluster& cluster, const std::vector<std::int32_t>& lengths) {
  const std::int64_t size = cluster.size();
  CAPTURE(size, lengths);
  const cluster::Mesh mesh(size, cluster.rank(), {.context = size});
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  const Whole whole(lengths);
  const View<const std::int32_t, 1, Space::host> starts(whole.starts.data(),
                                                        {std::int64_t(whole.starts.size())});
  kernels::attention_forward(forward_of(whole, {.query_starts = starts, .key_starts = starts}));
  kernels::attention_backward(backward_of(whole, {.query_starts = starts, .key_starts = starts}));

  const models::HostBatch batch = whole.share(mesh);
  const auto places = batch.view().places;
  const std::vector<std::int32_t>& tokens = batch.target_tokens();  // every token has one
  REQUIRE(std::int64_t(tokens.size()) == batch.real_tokens().here);
  Whole here({std::int32_t(batch.tokens())});
  for (const auto* input : {&here.q, &here.k, &here.v, &here.dy}) test::fill(*input, 0.0f);
  for (const auto* output : {&here.y, &here.log_sum_exp, &here.dq, &here.dk, &here.dv})
    test::fill(*output, 99.0f);
  take_rows(whole.q, tokens, here.q), take_rows(whole.k, tokens, here.k);
  take_rows(whole.v, tokens, here.v), take_rows(whole.dy, tokens, here.dy);

  Arena<Space::host> activations("activations"), workspace("workspace");
  Staging<Space::host> staging("staging");
  layers::Context<HostFp32> context{*exchange, activations, activations, workspace, staging, {}};
  layers::ring_attention_forward<HostFp32>(forward_of(here, places.segments), places.remote, "ring", context);
  check_rows(here.y, tokens, whole.y, 1e-5);
  check_rows(here.log_sum_exp, tokens, whole.log_sum_exp, 1e-5);
  const std::int64_t pair = 2 * batch.tokens() * kKvHeads * kHeadDim * std::int64_t(sizeof(float));
  CHECK(exchange->traffic(cluster::Axis::context).bytes == (size - 1) * pair);

  layers::ring_attention_backward<HostFp32>(backward_of(here, places.segments), places.remote, "ring",
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

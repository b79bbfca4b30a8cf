#include "cluster/cluster.h"
#include "layers/ring_attention.h"
#include "parallel/device/exchange_device.h"
#include "tests/models/ring_case.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

// Attention over a ring of ranks in device memory against the host's of whole samples: with bf16 and heads of
// 64 by cuDNN, otherwise by the plain kernels.

using namespace moebius;
using test::DeviceTensor;
using test::Tensor;

namespace {

/// A whole tensor's rows that are here, on the device; zeros as padding.
template <class T>
void put_rows(const Tensor<float, 2>& whole, const std::vector<std::int32_t>& tokens,
              const DeviceTensor<T, 2>& here) {
  const Tensor<float, 2> rows(here.shape());
  test::take_rows(whole, tokens, rows);
  test::put(rows, here);
}

/// How far the rows here are from those of the whole; infinite where padding is not zero.
template <class T>
double error_of(const DeviceTensor<T, 2>& here, const std::vector<std::int32_t>& tokens,
                const Tensor<float, 2>& whole) {
  const Tensor<float, 2> expected(here.shape());
  test::take_rows(whole, tokens, expected);
  const std::vector<float> got = test::values_of<float>(here);
  for (std::size_t i = tokens.size() * std::size_t(here.shape()[1]); i < got.size(); ++i)
    if (got[i] != 0) return std::numeric_limits<double>::infinity();
  return test::relative_error(got, expected.values());
}

template <Platform P>
struct Case {
  using T = typename P::Storage;
  cluster::Cluster cluster{cluster::Environment()};
  parallel::DevicePlacement placement = parallel::place_devices(cluster).value();
  kernels::Device gpu{placement.index};
  cluster::Mesh mesh{cluster.size(), cluster.rank(), {.context = cluster.size()}};

  void check(const std::vector<std::int32_t>& lengths, const test::RingHeads& sizes) {
    CAPTURE(cluster.size(), lengths, sizeof(T), sizes.head_dim);
    const test::WholeSamples whole(lengths, sizes);
    for (const auto* input : {&whole.q, &whole.k, &whole.v, &whole.dy}) test::round_to<T>(*input);
    whole.run();
    const models::HostBatch batch = whole.share<Space::device>(mesh);
    const std::vector<std::int32_t>& tokens = batch.target_tokens();
    const std::array<std::int64_t, 2> of_q{batch.tokens(), sizes.heads * sizes.head_dim},
        of_k{batch.tokens(), sizes.kv_heads * sizes.head_dim};
    const DeviceTensor<T, 2> q(of_q), k(of_k), v(of_k), dy(of_q), y(of_q), dq(of_q), dk(of_k), dv(of_k);
    const DeviceTensor<float, 2> log_sum_exp({batch.tokens(), sizes.heads});
    put_rows(whole.q, tokens, q), put_rows(whole.k, tokens, k);
    put_rows(whole.v, tokens, v), put_rows(whole.dy, tokens, dy);

    const auto exchange = parallel::make_device_exchange(cluster, mesh, placement);
    Arena<Space::device> activations("activations"), workspace("workspace");
    Staging<Space::device> staging("staging");
    layers::Context<P> context{*exchange, activations, activations, workspace, staging, gpu.queue()};
    const auto places = batch.placed<Space::device>(activations, staging, gpu.queue()).places;
    layers::ring_attention_forward<P>({.q = q.view(),
                                       .k = k.view(),
                                       .v = v.view(),
                                       .segments = places.segments,
                                       .y = y.view(),
                                       .log_sum_exp = log_sum_exp.view(),
                                       .heads = sizes.heads,
                                       .kv_heads = sizes.kv_heads,
                                       .scale = sizes.scale()},
                                      places.remote, "ring", context);
    layers::ring_attention_backward<P>({.dy = dy.view(),
                                        .q = q.view(),
                                        .y = y.view(),
                                        .k = k.view(),
                                        .v = v.view(),
                                        .segments = places.segments,
                                        .log_sum_exp = log_sum_exp.view(),
                                        .dq = dq.view(),
                                        .dk = dk.view(),
                                        .dv = dv.view(),
                                        .heads = sizes.heads,
                                        .kv_heads = sizes.kv_heads,
                                        .scale = sizes.scale()},
                                       places.remote, "ring", context);
    exchange->wait({cluster::Axis::world, "test"}, gpu.queue());
    const double tolerance = 2 * test::kTolerance<T>;  // of sums that are rounded on the way
    CHECK(error_of(y, tokens, whole.y) < tolerance);
    CHECK(error_of(log_sum_exp, tokens, whole.log_sum_exp) < 1e-4);
    CHECK(error_of(dq, tokens, whole.dq) < tolerance);
    CHECK(error_of(dk, tokens, whole.dk) < tolerance);
    CHECK(error_of(dv, tokens, whole.dv) < tolerance);
  }
  void check_all(const test::RingHeads& sizes) {
    check({1500}, sizes);
    check({17, 130, 1, 64, 3, 77, 400}, sizes);
    check({50, 2, 3, 1, 40, 60}, sizes);  // shorter than the chunks of some meshes
  }
};

}  // namespace

TEST_CASE("attention over a ring of ranks on devices equals the host's of whole samples",
          "[models][context][gpu]") {
  Case<DeviceFp32>().check_all({.heads = 4, .kv_heads = 2, .head_dim = 24});
  Case<DeviceBf16>().check_all({.heads = 4, .kv_heads = 2, .head_dim = 24});
  Case<DeviceBf16>().check_all({.heads = 8, .kv_heads = 2, .head_dim = 64});
  Case<DeviceBf16>().check_all({.heads = 4, .kv_heads = 4, .head_dim = 128});
}

#include "kernels/attention/attention.h"

#include <cmath>

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

struct Sizes {
  std::vector<std::int32_t> query_starts, key_starts, key_counts;  // no key_starts: as query_starts
  std::int64_t query_rows, key_rows, heads, kv_heads, head_dim;
};

/// q and k and v in one packed buffer where there are as many keys as queries, as in training.
struct Case {
  Sizes sizes;
  Tensor<float, 2> q, k, v, y, dy, dq, dk, dv, log_sum_exp;
  std::vector<std::int32_t> key_starts;
  float scale;

  explicit Case(Sizes given)
      : sizes(std::move(given)),
        q({sizes.query_rows, sizes.heads * sizes.head_dim}),
        k({sizes.key_rows, sizes.kv_heads * sizes.head_dim}),
        v(k.shape()),
        y(q.shape()),
        dy(q.shape()),
        dq(q.shape()),
        dk(k.shape()),
        dv(k.shape()),
        log_sum_exp({sizes.query_rows, sizes.heads}),
        key_starts(sizes.key_starts.empty() ? sizes.query_starts : sizes.key_starts),
        scale(1 / std::sqrt(float(sizes.head_dim))) {
    fill_normal(q, 1, 2), fill_normal(k, 2), fill_normal(v, 3), fill_normal(dy, 4);
    for (const auto* output : {&y, &dq, &dk, &dv, &log_sum_exp}) test::fill(*output, 99.0f);
  }
  static View<const std::int32_t, 1, Space::host> view(const std::vector<std::int32_t>& values) {
    return {values.data(), {std::int64_t(values.size())}};
  }
  Segments<Space::host> segments() {
    return {.query_starts = view(sizes.query_starts),
            .key_starts = view(key_starts),
            .key_counts = view(sizes.key_counts)};
  }
  AttentionForward<float, Space::host> forward() {
    return {.q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .segments = segments(),
            .y = y.view(),
            .log_sum_exp = log_sum_exp.view(),
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads,
            .scale = scale};
  }
  AttentionBackward<float, Space::host> backward() {
    return {.dy = dy.view(),
            .q = q.view(),
            .y = y.view(),
            .k = k.view(),
            .v = v.view(),
            .segments = segments(),
            .log_sum_exp = log_sum_exp.view(),
            .dq = dq.view(),
            .dk = dk.view(),
            .dv = dv.view(),
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads,
            .scale = scale};
  }
};

/// Attention and its gradients straight from the definition, in double.
struct Reference {
  std::vector<double> y, log_sum_exp, dq, dk, dv;

  explicit Reference(Case& host)
      : y(std::size_t(host.q.count())),
        log_sum_exp(std::size_t(host.log_sum_exp.count())),
        dq(y.size()),
        dk(std::size_t(host.k.count())),
        dv(dk.size()) {
    const Sizes& sizes = host.sizes;
    for (std::size_t n = 0; n + 1 < sizes.query_starts.size(); ++n) {
      const std::int64_t queries = sizes.query_starts[n + 1] - sizes.query_starts[n];
      const std::int64_t keys =
          sizes.key_counts.empty() ? host.key_starts[n + 1] - host.key_starts[n] : sizes.key_counts[n];
      for (std::int64_t h = 0; h < sizes.heads; ++h) {
        for (std::int64_t i = 0; i < queries; ++i) {
          one_query(host, sizes.query_starts[n] + i,
                    {host.key_starts[n], host.key_starts[n] + i + 1 + keys - queries}, h);
        }
      }
    }
  }

 private:
  void one_query(Case& host, std::int64_t row, std::array<std::int64_t, 2> keys, std::int64_t h) {
    const std::int64_t dim = host.sizes.head_dim, kv = h / (host.sizes.heads / host.sizes.kv_heads);
    const auto product = [&](auto&& a, auto&& b) {
      double sum = 0;
      for (std::int64_t c = 0; c < dim; ++c) sum += double(a(c)) * double(b(c));
      return sum;
    };
    const auto at = [&](const Tensor<float, 2>& tensor, std::int64_t r, std::int64_t head) {
      return [&tensor, r, head, dim](std::int64_t c) { return tensor.view()(r, head * dim + c); };
    };
    const std::size_t query_place = std::size_t((row * host.sizes.heads + h) * dim);
    std::vector<double> p;
    double sum = 0, d = 0;
    for (std::int64_t j = keys[0]; j < keys[1]; ++j) {
      p.push_back(std::exp(double(host.scale) * product(at(host.q, row, h), at(host.k, j, kv))));
      sum += p.back();
    }
    log_sum_exp[std::size_t(row * host.sizes.heads + h)] = std::log(sum);
    for (std::int64_t j = keys[0]; j < keys[1]; ++j) {
      p[std::size_t(j - keys[0])] /= sum;
      for (std::int64_t c = 0; c < dim; ++c) {
        y[query_place + std::size_t(c)] += p[std::size_t(j - keys[0])] * double(at(host.v, j, kv)(c));
      }
      d += p[std::size_t(j - keys[0])] * product(at(host.dy, row, h), at(host.v, j, kv));
    }
    for (std::int64_t j = keys[0]; j < keys[1]; ++j) {
      const double weight = p[std::size_t(j - keys[0])];
      const double ds = double(host.scale) * weight * (product(at(host.dy, row, h), at(host.v, j, kv)) - d);
      const std::size_t key_place = std::size_t((j * host.sizes.kv_heads + kv) * dim);
      for (std::int64_t c = 0; c < dim; ++c) {
        dv[key_place + std::size_t(c)] += weight * double(at(host.dy, row, h)(c));
        dq[query_place + std::size_t(c)] += ds * double(at(host.k, j, kv)(c));
        dk[key_place + std::size_t(c)] += ds * double(at(host.q, row, h)(c));
      }
    }
  }
};

double largest_difference(const Tensor<float, 2>& got, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double(got[std::int64_t(i)]) - expected[i]);
    worst = difference < worst ? worst : difference;
  }
  return worst;
}

void check_against_reference(Case& host) {
  attention_forward(host.forward());
  attention_backward(host.backward());
  const Reference reference(host);
  CHECK(largest_difference(host.y, reference.y) < 1e-5);
  CHECK(largest_difference(host.log_sum_exp, reference.log_sum_exp) < 1e-5);
  CHECK(largest_difference(host.dq, reference.dq) < 5e-5);
  CHECK(largest_difference(host.dk, reference.dk) < 2e-4);  // sums over up to 300 queries x 4 heads
  CHECK(largest_difference(host.dv, reference.dv) < 2e-4);
}

Sizes packed() {
  return {.query_starts = {0, 1, 65, 65, 200, 331},
          .key_starts = {},
          .key_counts = {},
          .query_rows = 340,
          .key_rows = 340,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16};
}

}  // namespace

TEST_CASE("attention of packed segments agrees with softmax in double", "[kernels][attention]") {
  Case host(packed());
  check_against_reference(host);
  for (std::int64_t t = 331; t < 340; ++t) {  // padding
    for (const auto* output : {&host.y, &host.dq, &host.dk, &host.dv, &host.log_sum_exp}) {
      for (std::int64_t c = 0; c < output->shape()[1]; ++c) REQUIRE(output->view()(t, c) == 0);
    }
  }
}

TEST_CASE("attention agrees for other head sizes and groups", "[kernels][attention]") {
  for (const std::array<std::int64_t, 3> heads :
       {std::array<std::int64_t, 3>{1, 1, 128}, {6, 2, 40}, {4, 1, 8}, {2, 2, 256}}) {
    Sizes sizes = packed();
    std::tie(sizes.heads, sizes.kv_heads, sizes.head_dim) = std::tuple_cat(heads);
    CAPTURE(heads);
    Case host(sizes);
    check_against_reference(host);
  }
}

TEST_CASE("attention against a cache is aligned at the end", "[kernels][attention]") {
  // One token against 130 keys; 3 against 200 with room behind them; a prompt of 70 into an empty cache.
  Case host({.query_starts = {0, 1, 4, 74},
             .key_starts = {0, 150, 400, 500},
             .key_counts = {130, 200, 70},
             .query_rows = 74,
             .key_rows = 500,
             .heads = 4,
             .kv_heads = 2,
             .head_dim = 16});
  check_against_reference(host);
  CHECK(host.dk.view()(140, 0) == 0);  // room that holds no key
}

TEST_CASE("attention token by token equals attention at once", "[kernels][attention]") {
  Sizes sizes = packed();
  sizes.query_starts = {0, 150};
  sizes.query_rows = sizes.key_rows = 150;
  Case whole(sizes);
  attention_forward(whole.forward());
  for (const std::int32_t t : {0, 1, 63, 64, 149}) {
    Sizes step = sizes;
    step.query_starts = {0, 1};
    step.key_starts = {0, 150};
    step.key_counts = {t + 1};
    step.query_rows = 1;
    Case one(step);
    for (std::int64_t c = 0; c < 64; ++c) one.q[c] = whole.q.view()(t, c);
    attention_forward(one.forward());
    for (std::int64_t c = 0; c < 64; ++c) CHECK(one.y[c] == Approx(whole.y.view()(t, c)).margin(1e-5));
  }
}

TEST_CASE("attention reads strided columns and keeps large scores finite", "[kernels][attention]") {
  Sizes sizes = packed();
  Case host(sizes);
  Tensor<float, 2> buffer({340, 128});
  const Matrix<float, Space::host> wide = buffer.view();
  for (std::int64_t t = 0; t < 340; ++t) {
    for (std::int64_t c = 0; c < 64; ++c) wide(t, c) = host.q.view()(t, c) *= 100;
    for (std::int64_t c = 0; c < 32; ++c) wide(t, 64 + c) = host.k.view()(t, c);
    for (std::int64_t c = 0; c < 32; ++c) wide(t, 96 + c) = host.v.view()(t, c);
  }
  attention_forward(host.forward());
  const auto expected = host.y.values();
  for (const float value : expected) REQUIRE(std::isfinite(value));
  auto op = host.forward();
  op.q = wide.column_block(0, 64), op.k = wide.column_block(64, 32), op.v = wide.column_block(96, 32);
  op.log_sum_exp = {};  // not kept
  attention_forward(op);
  CHECK(host.y.values() == expected);
}

TEST_CASE("attention gradients do not depend on the number of threads", "[kernels][attention]") {
  Case host(packed());
  test::check_thread_invariance([&] {
    attention_forward(host.forward());
    attention_backward(host.backward());
    return std::array{host.y.values(), host.dq.values(), host.dk.values(), host.dv.values()};
  });
}

TEST_CASE("attention names what does not fit", "[kernels][attention]") {
  Case host(packed());
  auto op = host.forward();
  op.v.columns = 30;
  CHECK_THROWS_WITH(attention_forward(op), "attention.v: expected [340, 32], got [340, 30]");
  op = host.forward();
  op.heads = 3;
  CHECK_THROWS_WITH(attention_forward(op), "attention: 64 columns of q for 3 heads, 2 kv_heads");
  host.sizes.query_starts.back() = 341;
  CHECK_THROWS_WITH(attention_forward(host.forward()),
                    "attention.segments: number 4 has queries 200 to 341 of 340 and keys 200 to 331 of 340");
}

#include "kernels/embedding/embedding.h"

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

constexpr std::int64_t kTokens = 300, kVocab = 40, kHidden = 24;

struct Case {
  Tensor<float, 2> table{{kVocab, kHidden}}, y{{kTokens, kHidden}}, dy{{kTokens, kHidden}},
      dtable{{kVocab, kHidden}};
  Tensor<std::int32_t, 1> ids{{kTokens}};

  Case() {
    fill_normal(table, 1), fill_normal(dy, 2);
    for (std::int64_t t = 0; t < kTokens; ++t) ids[t] = std::int32_t(t * t % (kVocab + 1)) - 1;  // -1 too
  }
};

}  // namespace

TEST_CASE("embedding parts of the vocabulary add up to the whole", "[kernels][embedding]") {
  Case host;
  Tensor<float, 2> part({kTokens, kHidden}), sum({kTokens, kHidden});
  for (const std::int64_t begin : {0, 15}) {
    const std::int64_t count = begin == 0 ? 15 : kVocab - 15;
    embedding_forward<float>({.table = host.table.view().slice(begin, count),
                              .ids = host.ids.view(),
                              .vocab_begin = begin,
                              .y = part.view()});
    for (std::int64_t i = 0; i < sum.count(); ++i) sum[i] += part[i];
  }
  embedding_forward<float>(
      {.table = host.table.view(), .ids = host.ids.view(), .vocab_begin = 0, .y = host.y.view()});
  CHECK(sum.values() == host.y.values());
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const float expected = host.ids[t] < 0 ? 0 : host.table.view()(host.ids[t], 5);
    REQUIRE(host.y.view()(t, 5) == expected);
  }
}

TEST_CASE("embedding backward is the adjoint and accumulates", "[kernels][embedding]") {
  Case host;
  embedding_forward<float>(
      {.table = host.table.view(), .ids = host.ids.view(), .vocab_begin = 0, .y = host.y.view()});
  const EmbeddingBackward<float, Space::host> op{
      .dy = host.dy.view(), .ids = host.ids.view(), .vocab_begin = 0, .dtable = host.dtable.view()};
  embedding_backward(op);
  CHECK(dot(host.dtable, host.table) == Approx(dot(host.dy, host.y)).epsilon(1e-5));
  const float once = host.dtable[77];
  embedding_backward(op);
  CHECK(host.dtable[77] == Approx(2 * once));
  test::check_thread_invariance([&] {
    test::fill(host.dtable, 0.0f);
    embedding_backward(op);
    return host.dtable.values();
  });
}

TEST_CASE("embedding backward overwrites: rows of no token become zeros", "[kernels][embedding]") {
  Case host;
  EmbeddingBackward<float, Space::host> op{
      .dy = host.dy.view(), .ids = host.ids.view(), .vocab_begin = 0, .dtable = host.dtable.view()};
  embedding_backward(op);
  const auto sums = host.dtable.values();
  test::fill(host.dtable, 3.0f);
  op.into = Into::overwrite;
  embedding_backward(op);
  CHECK(host.dtable.values() == sums);
  test::fill(host.ids, std::int32_t(-1));
  embedding_backward(op);
  for (std::int64_t i = 0; i < host.dtable.count(); ++i) REQUIRE(host.dtable[i] == 0);
}

TEST_CASE("embedding names the tensor whose shape is wrong", "[kernels][embedding]") {
  Case host;
  CHECK_THROWS_WITH(embedding_forward<float>({.table = host.table.view(),
                                              .ids = host.ids.view().slice(0, 3),
                                              .vocab_begin = 0,
                                              .y = host.y.view()}),
                    "embedding.y: expected [3, 24], got [300, 24]");
}

#include "kernels/moe/permute.h"

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;
using Ints = std::vector<std::int32_t>;

namespace {

constexpr std::int64_t kTokens = 200, kTopK = 3, kExperts = 7, kWidth = 50, kRows = kTokens * kTopK;

struct Plan {
  Tensor<std::int32_t, 2> ids, positions;
  Tensor<std::int32_t, 1> starts, sources, assignments;

  Plan(std::int64_t tokens, std::int64_t top_k, std::int64_t experts)
      : ids({tokens, top_k}),
        positions({tokens, top_k}),
        starts({experts + 1}),
        sources({tokens * top_k}),
        assignments({tokens * top_k}) {}
  PermutePlan<Space::host> op() {
    return {.ids = ids.view(),
            .starts = starts.view(),
            .positions = positions.view(),
            .sources = sources.view(),
            .assignments = assignments.view()};
  }
};

}  // namespace

TEST_CASE("permute_plan sorts by expert, then token", "[kernels][permute]") {
  Plan plan(4, 2, 4);
  const std::int32_t ids[] = {2, 0, /**/ 0, 3, /**/ -1, -1, /**/ 2, 0};
  std::copy_n(ids, 8, plan.ids.data());
  permute_plan(plan.op());
  CHECK(plan.starts.values() == Ints{0, 3, 3, 5, 6});
  CHECK(plan.positions.values() == Ints{3, 0, 1, 5, -1, -1, 4, 2});
  CHECK(plan.sources.values() == Ints{0, 1, 3, 0, 3, 1, -1, -1});
  CHECK(plan.assignments.values() == Ints{1, 2, 7, 0, 6, 3, -1, -1});
}

TEST_CASE("gather_rows and gather_sum are adjoint and carry rows and weights", "[kernels][permute]") {
  Plan plan(kTokens, kTopK, kExperts);
  for (std::int64_t i = 0; i < kRows; ++i)
    plan.ids[i] = i / kTopK >= 190 ? -1 : std::int32_t(i * i % kExperts);
  permute_plan(plan.op());
  Tensor<float, 2> x({kTokens, kWidth}), gathered({kRows, kWidth}), rows({kRows, kWidth}),
      summed({kTokens, kWidth});
  fill_normal(x, 1), fill_normal(rows, 2);
  gather_rows<float>({.x = x.view(), .index = plan.sources.view(), .y = gathered.view()});
  gather_sum<float>({.x = rows.view(), .index = plan.positions.view(), .y = summed.view()});
  CHECK(dot(gathered, rows) == Approx(dot(x, summed)).epsilon(1e-5));
  for (std::int64_t row = 0; row < kRows; ++row) {
    const std::int32_t token = plan.sources[row];
    const float expected = token < 0 ? 0 : x.view()(token, 49);
    REQUIRE(gathered.view()(row, 49) == expected);
  }
  const auto position = [&](std::int64_t t, std::int64_t c) { return plan.positions.view()(t, c); };
  CHECK(summed.view()(5, 1) ==
        rows.view()(position(5, 0), 1) + rows.view()(position(5, 1), 1) + rows.view()(position(5, 2), 1));
  CHECK(summed.view()(195, 1) == 0);

  Tensor<float, 2> weights({kRows, 1}), sorted({kRows, 1}), back({kRows, 1});
  fill_normal(weights, 3);
  gather_rows<float>({.x = weights.view(), .index = plan.assignments.view(), .y = sorted.view()});
  gather_rows<float>({.x = sorted.view(), .index = plan.positions.view().flat(), .y = back.view()});
  for (std::int64_t i = 0; i < 190 * kTopK; ++i) REQUIRE(back[i] == weights[i]);
  CHECK(back[190 * kTopK] == 0);
}

TEST_CASE("spread_rows is gather_rows from the other side", "[kernels][permute]") {
  Plan plan(kTokens, kTopK, kExperts);
  for (std::int64_t i = 0; i < kRows; ++i) plan.ids[i] = i / kTopK >= 190 ? -1 : std::int32_t(i % kExperts);
  permute_plan(plan.op());
  const std::int64_t rows = plan.starts[kExperts];
  Tensor<float, 2> x({kTokens, kWidth}), weights({kTokens, kTopK});
  Tensor<float, 2> gathered({rows, kWidth}), spread({rows, kWidth}), gathered_weight({rows, 1});
  Tensor<float, 1> row_weight({rows});
  fill_normal(x, 1), fill_normal(weights, 2);
  gather_rows<float>({.x = x.view(), .index = plan.sources.view().slice(0, rows), .y = gathered.view()});
  gather_rows<float>({.x = {weights.data(), {kRows, 1}},
                      .index = plan.assignments.view().slice(0, rows),
                      .y = gathered_weight.view()});
  spread_rows<float>({.x = x.view(),
                      .index = plan.positions.view(),
                      .y = spread.view(),
                      .weights = weights.view(),
                      .row_weight = row_weight.view()});
  CHECK(spread.values() == gathered.values());
  CHECK(row_weight.values() == gathered_weight.values());
}

TEST_CASE("regroup_plan makes the groups of all parts contiguous", "[kernels][permute]") {
  Tensor<std::int32_t, 2> counts({2, 3}, {2, 0, 1, /**/ 1, 2, 0});
  Tensor<std::int32_t, 1> starts({4}), sources({8}), positions({8});
  RegroupPlan<Space::host> op{.counts = counts.view(),
                              .starts = starts.view(),
                              .sources = sources.view(),
                              .positions = positions.view()};
  regroup_plan(op);
  CHECK(starts.values() == Ints{0, 3, 5, 6});
  CHECK(sources.values() == Ints{0, 1, 3, 4, 5, 2, -1, -1});
  CHECK(positions.values() == Ints{0, 1, 5, 2, 3, 4, -1, -1});
  op.sources.shape = op.positions.shape = {5};
  CHECK_THROWS_WITH(regroup_plan(op), "regroup.counts: 6 rows in room for 5");
}

TEST_CASE("permute names what does not fit", "[kernels][permute]") {
  Plan plan(4, 2, 4);
  plan.ids[5] = 4;
  CHECK_THROWS_WITH(permute_plan(plan.op()), "permute.ids: 4 at 5, not in [-1, 4)");
  plan.ids[5] = 0;
  auto op = plan.op();
  op.sources.shape = {4};
  CHECK_THROWS_WITH(permute_plan(op), "permute.sources: expected [8], got [4]");
  Tensor<float, 2> x({3, 2}), y({2, 2});
  Tensor<std::int32_t, 1> index({2}, {0, 3});
  CHECK_THROWS_WITH(gather_rows<float>({.x = x.view(), .index = index.view(), .y = y.view()}),
                    "gather_rows.index: 3 at 1, not in [-1, 3)");
}

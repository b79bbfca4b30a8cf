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
  Tensor<std::int32_t, 1> starts, assignments;

  Plan(std::int64_t tokens, std::int64_t top_k, std::int64_t experts)
      : ids({tokens, top_k}),
        positions({tokens, top_k}),
        starts({experts + 1}),
        assignments({tokens * top_k}) {}
  PermutePlan<Space::host> op() {
    return {.ids = ids.view(),
            .starts = starts.view(),
            .positions = positions.view(),
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
  CHECK(plan.assignments.values() == Ints{1, 2, 7, 0, 6, 3, -1, -1});
}

TEST_CASE("a token has one row in each group of experts", "[kernels][permute]") {
  Plan plan(4, 3, 2);  // groups {4, 5}, {6, 7}
  const std::int32_t ids[] = {7, 4, 6, /**/ 0, 5, 3, /**/ 8, 2, -1, /**/ 5, 4, 7};
  std::copy_n(ids, 12, plan.ids.data());
  auto op = plan.op();
  op.first = 4;
  op.experts_per_group = 2;
  permute_plan(op);
  CHECK(plan.starts.values() == Ints{0, 3, 5});
  CHECK(plan.positions.values() == Ints{3, 0, -1, -1, 1, -1, -1, -1, -1, 2, -1, 4});
  CHECK(plan.assignments.values() == Ints{1, 4, 9, 0, 11, -1, -1, -1, -1, -1, -1, -1});
  op.assignments.shape = {5};
  permute_plan(op);
  CHECK(plan.assignments[4] == 11);
  op.assignments.shape = {4};
  CHECK_THROWS_WITH(permute_plan(op), "permute.assignments: 5 rows in room for 4");
  op.assignments = {};
  permute_plan(op);
  CHECK(plan.positions.values() == Ints{3, 0, -1, -1, 1, -1, -1, -1, -1, 2, -1, 4});
}

TEST_CASE("spread_rows and gather_sum are adjoint", "[kernels][permute]") {
  Plan plan(kTokens, kTopK, kExperts);
  for (std::int64_t i = 0; i < kRows; ++i)
    plan.ids[i] = i / kTopK >= 190 ? -1 : std::int32_t(i * i % kExperts);
  permute_plan(plan.op());
  const std::int64_t rows = plan.starts[kExperts];
  Tensor<float, 2> x({kTokens, kWidth}), spread({rows, kWidth}), dy({rows, kWidth}),
      summed({kTokens, kWidth});
  fill_normal(x, 1), fill_normal(dy, 2);
  spread_rows<float>({.x = x.view(), .index = plan.positions.view(), .y = spread.view()});
  gather_sum<float>({.x = dy.view(), .index = plan.positions.view(), .y = summed.view()});
  CHECK(dot(spread, dy) == Approx(dot(x, summed)).epsilon(1e-5));
  const auto position = [&](std::int64_t t, std::int64_t c) { return plan.positions.view()(t, c); };
  CHECK(summed.view()(5, 1) ==
        dy.view()(position(5, 0), 1) + dy.view()(position(5, 1), 1) + dy.view()(position(5, 2), 1));
  CHECK(summed.view()(195, 1) == 0);
}

TEST_CASE("spread_rows is gather_rows from the other side", "[kernels][permute]") {
  Plan plan(kTokens, kTopK, kExperts);
  for (std::int64_t i = 0; i < kRows; ++i) plan.ids[i] = i / kTopK >= 190 ? -1 : std::int32_t(i % kExperts);
  permute_plan(plan.op());
  const std::int64_t rows = plan.starts[kExperts];
  Tensor<float, 2> x({kTokens, kWidth}), gathered({rows + 1, kWidth}), spread({rows + 1, kWidth});
  Tensor<std::int32_t, 1> tokens({rows + 1});
  for (std::int64_t row = 0; row < rows; ++row) tokens[row] = plan.assignments[row] / std::int32_t(kTopK);
  tokens[rows] = -1;
  fill_normal(x, 1);
  test::fill(gathered, 5.0f);
  gather_rows<float>({.x = x.view(), .index = tokens.view(), .y = gathered.view()});
  spread_rows<float>({.x = x.view(), .index = plan.positions.view(), .y = spread.view()});
  CHECK(spread.values() == gathered.values());  // the last row: zeros of a new tensor, zeros of -1
}

TEST_CASE("permute names what does not fit", "[kernels][permute]") {
  Plan plan(4, 2, 4);
  auto op = plan.op();
  op.positions.shape = {4, 1};
  CHECK_THROWS_WITH(permute_plan(op), "permute.positions: expected [4, 2], got [4, 1]");
  op = plan.op();
  op.assignments.shape = {9};
  CHECK_THROWS_WITH(permute_plan(op), "permute.assignments: expected [8], got [9]");
  Tensor<float, 2> x({3, 2}), y({2, 2});
  Tensor<std::int32_t, 1> index({2}, {0, 3});
  CHECK_THROWS_WITH(gather_rows<float>({.x = x.view(), .index = index.view(), .y = y.view()}),
                    "gather_rows.index: 3 at 1, not in [-1, 3)");
}

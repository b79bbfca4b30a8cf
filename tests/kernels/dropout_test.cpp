#include "kernels/dense/dropout.h"

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

using namespace moebius;
using kernels::Dropout;
using kernels::Into;
using test::Approx;

namespace {

constexpr std::int64_t kRows = 64, kColumns = 50;

struct Case {
  Case() {
    test::fill(x, 1.0f);
    for (std::int64_t r = 0; r < kRows; ++r) numbers[2 * r + 1] = std::int32_t(3 * r);
  }
  [[nodiscard]] Dropout<float, Space::host> op() const {
    return {.x = x.view(),
            .y = y.view(),
            .numbers = numbers.view(),
            .all_columns = kColumns,
            .probability = 0.3f,
            .seed = 5,
            .tensor = 7};
  }
  [[nodiscard]] std::vector<float> result(const Dropout<float, Space::host>& one) const {
    kernels::dropout(one);
    return y.values();
  }
  test::Tensor<float, 2> x{{kRows, kColumns}}, y{{kRows, kColumns}};
  test::Tensor<std::int32_t, 2> numbers{{kRows, 2}};
};

}  // namespace

TEST_CASE("dropout keeps the mean and drops as many as it should", "[kernels][dropout]") {
  const Case c;
  const std::vector<float> y = c.result(c.op());
  const auto dropped = std::ranges::count(y, 0.0f);
  CHECK(double(dropped) == Approx(0.3 * kRows * kColumns).epsilon(0.1));
  for (const float value : y) CHECK((value == 0 || value == Approx(1 / 0.7)));
  for (std::int64_t r = 0; r < kRows; ++r) c.numbers[2 * r] = 1;
  CHECK(c.result(c.op()) != y);
  for (std::int64_t r = 0; r < kRows; ++r) c.numbers[2 * r] = 0;
  CHECK(c.result(c.op()) == y);
  auto other = c.op();
  other.tensor = 8;
  CHECK(c.result(other) != y);
}

TEST_CASE("what is dropped does not depend on how a tensor is cut", "[kernels][dropout]") {
  const Case c;
  const std::vector<float> whole = c.result(c.op());
  for (const std::int64_t cut : {0, 1, 7, 24}) {
    test::fill(c.y, -1.0f);
    for (const Range& columns : {Range{0, cut}, Range{cut, kColumns}}) {
      auto part = c.op();
      part.x = part.x.column_block(columns.begin, columns.size());
      part.y = part.y.column_block(columns.begin, columns.size());
      part.first_column = columns.begin;
      kernels::dropout(part);
    }
    CHECK(c.y.values() == whole);
  }
  // The last rows alone.
  auto part = c.op();
  part.x = c.x.view().slice(40, 24), part.y = c.y.view().slice(40, 24);
  part.numbers = c.numbers.view().slice(40, 24);
  test::fill(c.y, 0.0f);
  const std::vector<float> last = c.result(part);
  CHECK(std::equal(last.begin() + 40 * kColumns, last.end(), whole.begin() + 40 * kColumns));
}

TEST_CASE("rows of experts have draws of their own, and dropped sums are added", "[kernels][dropout]") {
  const Case c;
  // Tokens 0 and 1 with two choices each: experts 4 and 2, and 2 and 0.
  const test::Tensor<std::int32_t, 2> ids({2, 2}, {4, 2, 2, 0});
  const test::Tensor<std::int32_t, 1> assignments({5}, {3, 1, 2, 0, -1});
  auto op = c.op();
  op.x = c.x.view().slice(0, 5), op.y = c.y.view().slice(0, 5);
  op.numbers = c.numbers.view().slice(0, 2);
  op.assignments = assignments.view();
  op.ids = ids.view();
  op.experts = 6;
  test::fill(c.y, 10.0f);
  op.into = Into::add;
  const std::vector<float> y = c.result(op);
  // The rows are tokens 1, 0, 1 and 0, at places 3 and 0, with experts 0, 2, 2 and 4.
  const test::Tensor<std::int32_t, 2> numbers({4, 2},
                                              {0, 3 * 6 + 0, 0, 0 * 6 + 2, 0, 3 * 6 + 2, 0, 0 * 6 + 4});
  const test::Tensor<float, 2> expected({4, kColumns});
  auto plain = c.op();
  plain.x = c.x.view().slice(0, 4), plain.y = expected.view(), plain.numbers = numbers.view();
  kernels::dropout(plain);
  for (std::int64_t i = 0; i < 4 * kColumns; ++i) CHECK(y[std::size_t(i)] == 10 + expected[i]);
  for (std::int64_t i = 4 * kColumns; i < 5 * kColumns; ++i) CHECK(y[std::size_t(i)] == 10);
}

#include "kernels/dense/dropout.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;

namespace {

struct Sizes {
  std::int64_t rows, columns, first;
};
const Sizes kSizes[] = {{1, 1, 0}, {7, 33, 3}, {300, 64, 64}, {129, 2048, 0}, {0, 8, 0}};

template <class T>
void check_case(Device& gpu, const Sizes& sizes, Into into) {
  const Normal<T, 2> x({sizes.rows, sizes.columns}, 1), y({sizes.rows, sizes.columns}, 2);
  const test::Tensor<std::int32_t, 2> numbers({sizes.rows, 2});
  for (std::int64_t i = 0; i < 2 * sizes.rows; ++i) numbers[i] = std::int32_t(5 * i + 1);
  const Placed<T, 2> device_x(x), device_y(y);
  const Placed<std::int32_t, 2> device_numbers(numbers);
  test::make_ready(gpu);
  dropout(Dropout<T, Space::device>{.x = device_x.matrix(),
                                    .y = device_y.matrix(),
                                    .numbers = device_numbers.view(),
                                    .first_column = sizes.first,
                                    .all_columns = 2 * sizes.columns + sizes.first,
                                    .probability = 0.2f,
                                    .seed = 3,
                                    .tensor = 11,
                                    .into = into},
          gpu.queue());
  dropout(Dropout<float, Space::host>{.x = x.view(),
                                      .y = y.view(),
                                      .numbers = numbers.view(),
                                      .first_column = sizes.first,
                                      .all_columns = 2 * sizes.columns + sizes.first,
                                      .probability = 0.2f,
                                      .seed = 3,
                                      .tensor = 11,
                                      .into = into});
  const std::vector<float> ours = device_y.template values<float>(), expected = y.values();
  CHECK(relative_error(ours, expected) < kTolerance<T>);
  if (into == Into::add) return;
  for (std::size_t i = 0; i < ours.size(); ++i)
    CHECK((ours[i] == 0) == (expected[i] == 0));  // the same draws
}

/// Rows that went to experts.
template <class T>
void check_rows(Device& gpu) {
  const Normal<T, 2> x({4, 40}, 1), y({4, 40}, 2);
  const test::Tensor<std::int32_t, 1> assignments({4}, {3, 0, 1, -1});
  const test::Tensor<std::int32_t, 2> ids({2, 2}, {4, 2, 2, 0}), numbers({2, 2}, {1, 6, 0, 9});
  const Placed<T, 2> device_x(x), device_y(y);
  const Placed<std::int32_t, 1> device_assignments(assignments);
  const Placed<std::int32_t, 2> device_ids(ids), device_numbers(numbers);
  test::make_ready(gpu);
  dropout(Dropout<T, Space::device>{.x = device_x.matrix(),
                                    .y = device_y.matrix(),
                                    .numbers = device_numbers.view(),
                                    .assignments = device_assignments.view(),
                                    .ids = device_ids.view(),
                                    .experts = 6,
                                    .all_columns = 40,
                                    .probability = 0.5f},
          gpu.queue());
  dropout(Dropout<float, Space::host>{.x = x.view(),
                                      .y = y.view(),
                                      .numbers = numbers.view(),
                                      .assignments = assignments.view(),
                                      .ids = ids.view(),
                                      .experts = 6,
                                      .all_columns = 40,
                                      .probability = 0.5f});
  CHECK(relative_error(device_y.template values<float>(), y.values()) < kTolerance<T>);
}

}  // namespace

TEST_CASE("dropout on the device drops what the host twin drops", "[kernels][dropout][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes : kSizes) {
    for (const Into into : {Into::overwrite, Into::add}) {
      check_case<float>(gpu, sizes, into);
      check_case<bf16>(gpu, sizes, into);
    }
  }
  check_rows<float>(gpu);
  check_rows<bf16>(gpu);
}

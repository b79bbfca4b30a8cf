#pragma once
#include <omp.h>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

namespace moebius::test {

/// Central differences of `loss` (a function of nothing that runs the operation on the current inputs)
/// against `gradient`, entry by entry. The margin covers fp32 rounding in the loss over twice the step.
template <int Rank, class Loss>
void check_gradient(const Tensor<float, Rank>& input, const Tensor<float, Rank>& gradient, const Loss& loss,
                    double margin = 3e-3, float step = 1e-2f) {
  const std::vector<float> analytic = gradient.values();  // loss() may overwrite the gradient's tensor
  for (std::int64_t i = 0; i < input.count(); ++i) {
    const float saved = input[i];
    input[i] = saved + step;
    const double above = loss();
    input[i] = saved - step;
    const double below = loss();
    input[i] = saved;
    CAPTURE(i);
    CHECK(analytic[std::size_t(i)] ==
          Approx((above - below) / (2 * double(step))).epsilon(3e-3).margin(margin));
  }
}

/// The bits that `run` returns must be the same on 1, 2 and 5 threads.
template <class Run>
void check_thread_invariance(const Run& run) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto expected = run();
  for (const int count : {2, 5}) {
    omp_set_num_threads(count);
    CHECK(run() == expected);
  }
  omp_set_num_threads(threads);
}

}  // namespace moebius::test

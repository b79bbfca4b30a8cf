#pragma once
#include "tensor/queue.h"
#include "tensor/view.h"

/// sum += sum_i x[i]^2, in double: the part of a gradient norm that one run of parameters adds. Summed in
/// blocks of 4096 elements, then over the blocks in order: the same for any thread count.
namespace moebius::kernels {

template <Space S>
struct SumOfSquares {
  View<const float, 1, S> x;  // [count]
  View<double, 1, S> sum;     // [1]; accumulated (+=)
};

void sum_of_squares(const SumOfSquares<Space::host>&, Queue<Space::host> = {});
void sum_of_squares(const SumOfSquares<Space::device>&, Queue<Space::device>);

template <Space S>
void expect_shapes(const SumOfSquares<S>& op) {
  expect_shape("sum_of_squares.sum", op.sum, {1});
}

}  // namespace moebius::kernels

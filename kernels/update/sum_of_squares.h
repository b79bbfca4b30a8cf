#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// sum += sum_i x[i]^2, in double: the part of a gradient norm that one run of parameters adds. Summed in
/// blocks of 4096 elements, then over the blocks in order: the same for any thread count.
namespace moebius::kernels {

template <class T, Space S>
struct SumOfSquares {
  View<const T, 1, S> x;   // [count]
  View<double, 1, S> sum;  // [1]; accumulated (+=)
};

template <class T>
void sum_of_squares(const SumOfSquares<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void sum_of_squares(const SumOfSquares<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const SumOfSquares<T, S>& op) {
  expect_shape("sum_of_squares.sum", op.sum, {1});
}

}  // namespace moebius::kernels

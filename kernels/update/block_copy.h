#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// y = x, or y += x, where x and y are blocks of columns of wider tensors, of types of their own. Numbers are
/// added in fp32 and rounded once.
namespace moebius::kernels {

template <class From, class To, Space S>
struct BlockCopy {
  Matrix<const From, S> x;  // [rows, columns]
  Matrix<To, S> y;          // [rows, columns]; x and y do not overlap
  Into into = Into::overwrite;
};

template <class From, class To>
void block_copy(const BlockCopy<From, To, Space::host>&, Queue<Space::host> = {});
template <class From, class To>
void block_copy(const BlockCopy<From, To, Space::device>&, Queue<Space::device>);

template <class From, class To, Space S>
void expect_shapes(const BlockCopy<From, To, S>& op) {
  expect_shape("block_copy.y", op.y, {op.x.rows, op.x.columns});
}

}  // namespace moebius::kernels

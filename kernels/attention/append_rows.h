#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Keys and values of new tokens into a cache:  cache[rows[t]] = x[t]  for every t whose row is not negative.
namespace moebius::kernels {

template <class T, Space S>
struct AppendRows {
  Matrix<const T, S> x;                 // [tokens, width]
  View<const std::int32_t, 1, S> rows;  // [tokens]; all different, or negative: goes nowhere
  View<T, 2, S> cache;                  // [any, width]
};

template <class T>
void append_rows(const AppendRows<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void append_rows(const AppendRows<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const AppendRows<T, S>& op) {
  expect_shape("append_rows.rows", op.rows, {op.x.rows});
  expect_shape("append_rows.cache", op.cache, {op.cache.shape[0], op.x.columns});
}

}  // namespace moebius::kernels

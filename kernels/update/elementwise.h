#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The plain loops over runs of numbers. Tensors of more dims come in through View::flat().
namespace moebius::kernels {

/// y = value
template <class T>
void fill(View<T, 1, Space::host> y, T value, Queue<Space::host> = {});
template <class T>
void fill(View<T, 1, Space::device> y, T value, Queue<Space::device>);

/// y = x
template <class T>
void copy(View<const T, 1, Space::host> x, View<T, 1, Space::host> y, Queue<Space::host> = {});
template <class T>
void copy(View<const T, 1, Space::device> x, View<T, 1, Space::device> y, Queue<Space::device>);

/// y *= factor
template <class T>
void scale(View<T, 1, Space::host> y, float factor, Queue<Space::host> = {});
template <class T>
void scale(View<T, 1, Space::device> y, float factor, Queue<Space::device>);

template <class T, Space S>
struct Add {  // y = a + factor * b
  View<const T, 1, S> a, b;
  View<T, 1, S> y;  // may be a or b
  float factor = 1;
};
template <class T>
void add(const Add<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void add(const Add<T, Space::device>&, Queue<Space::device>);

template <class From, class To, Space S>
struct Cast {  // y = x, rounded to nearest
  View<const From, 1, S> x;
  View<To, 1, S> y;
};
template <class From, class To>
void cast(const Cast<From, To, Space::host>&, Queue<Space::host> = {});
template <class From, class To>
void cast(const Cast<From, To, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const Add<T, S>& op) {
  expect_shape("add.a", op.a, op.y.shape);
  expect_shape("add.b", op.b, op.y.shape);
}

template <class From, class To, Space S>
void expect_shapes(const Cast<From, To, S>& op) {
  expect_shape("cast.x", op.x, op.y.shape);
}

}  // namespace moebius::kernels

#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Two results of attention of the same queries over different keys become that over all of them. With l the
/// log_sum_exp of each row and head:
///
///   l' = log(exp(l) + exp(l_part))        y' = exp(l - l') y + exp(l_part - l') y_part
///
/// A row of -infinity has seen no key: it adds nothing, and its y_part is not read as a number (it is 0).
namespace moebius::kernels {

template <class T, Space S>
struct MergeAttention {
  View<const T, 2, S> part;                  // [tokens, heads * head_dim]
  View<const float, 2, S> part_log_sum_exp;  // [tokens, heads]
  View<float, 2, S> y;                       // [tokens, heads * head_dim]; in fp32, whatever is stored
  View<float, 2, S> log_sum_exp;             // [tokens, heads]; finite
};

template <class T>
void merge_attention(const MergeAttention<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void merge_attention(const MergeAttention<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const MergeAttention<T, S>& op) {
  expect_shape("merge_attention.part", op.part, op.y.shape);
  expect_shape("merge_attention.part_log_sum_exp", op.part_log_sum_exp, op.log_sum_exp.shape);
  const std::int64_t heads = op.log_sum_exp.shape[1];
  if (op.log_sum_exp.shape[0] != op.y.shape[0] || heads == 0 || op.y.shape[1] % heads != 0) {
    throw ShapeError("merge_attention: y is " + shape_text(op.y.shape.data(), 2) + ", log_sum_exp " +
                     shape_text(op.log_sum_exp.shape.data(), 2));
  }
}

}  // namespace moebius::kernels

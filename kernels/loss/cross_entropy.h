#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Cross entropy over logits whose vocabulary may be split over ranks; all sums in fp32. Logits are of type
/// T, as the product rounded them (Hugging Face: in the type of the model). A chunk of tokens goes through it
/// in two passes over its logits:
///
///   1. cross_entropy_statistics: row_max, sum_exp (relative to it) and the label's logit, of this rank's
///      columns. The caller takes the maximum of row_max over ranks, cross_entropy_rescale makes sum_exp
///      relative to it, the caller adds up sum_exp and label_logit over ranks; with one rank these steps are
///      left out. cross_entropy_log_probability: log p(label) = label_logit - row_max - log(sum_exp)
///   2. cross_entropy_gradient: logits become weights[t] * (softmax - [column is the label]), rounded once
///
/// Where one rank has the whole vocabulary, cross_entropy does it all at once: its logits are read once.
///
/// labels[t] = -100 (any negative number): not trained; its row is not read, its log_probability is 0 and its
/// gradient row is zero.
namespace moebius::kernels {

template <class T, Space S>
struct CrossEntropyStatistics {
  View<const T, 2, S> logits;             // [tokens, local_vocab]
  View<const std::int32_t, 1, S> labels;  // [tokens]; over the whole vocabulary
  std::int64_t vocab_begin = 0;           // this rank's first column
  View<float, 1, S> row_max;              // [tokens]
  View<float, 1, S> sum_exp;              // [tokens]
  View<float, 1, S> label_logit;          // [tokens]; 0 where the label is another rank's
};

template <Space S>
struct CrossEntropyRescale {
  View<const float, 1, S> local_max, row_max;  // [tokens]; before and after the maximum over ranks
  View<float, 1, S> sum_exp;                   // [tokens]; in place
};

template <Space S>
struct CrossEntropyLogProbability {
  View<const std::int32_t, 1, S> labels;                  // [tokens]
  View<const float, 1, S> row_max, sum_exp, label_logit;  // [tokens]; over the whole vocabulary
  View<float, 1, S> log_probability;                      // [tokens]
};

template <class T, Space S>
struct CrossEntropyGradient {
  View<T, 2, S> logits;                   // [tokens, local_vocab]; in: logits, out: their gradient
  View<const std::int32_t, 1, S> labels;  // [tokens]
  View<const float, 1, S> weights;        // [tokens]; loss scale / trained tokens
  std::int64_t vocab_begin = 0;
  View<const float, 1, S> row_max, sum_exp;  // [tokens]; over the whole vocabulary
};

template <class T, Space S>
struct CrossEntropy {
  View<T, 2, S> logits;                   // [tokens, vocab]; in: logits, out: their gradient
  View<const std::int32_t, 1, S> labels;  // [tokens]
  View<const float, 1, S> weights;        // [tokens]; loss scale / trained tokens
  View<float, 1, S> log_probability;      // [tokens]
};

template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T, Space::device>&, Queue<Space::device>);
void cross_entropy_rescale(const CrossEntropyRescale<Space::host>&, Queue<Space::host> = {});
void cross_entropy_rescale(const CrossEntropyRescale<Space::device>&, Queue<Space::device>);
void cross_entropy_log_probability(const CrossEntropyLogProbability<Space::host>&, Queue<Space::host> = {});
void cross_entropy_log_probability(const CrossEntropyLogProbability<Space::device>&, Queue<Space::device>);
template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T, Space::device>&, Queue<Space::device>);
template <class T>
void cross_entropy(const CrossEntropy<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void cross_entropy(const CrossEntropy<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const CrossEntropyStatistics<T, S>& op) {
  const std::int64_t tokens = op.logits.shape[0];
  expect_shape("cross_entropy.labels", op.labels, {tokens});
  expect_shape("cross_entropy.row_max", op.row_max, {tokens});
  expect_shape("cross_entropy.sum_exp", op.sum_exp, {tokens});
  expect_shape("cross_entropy.label_logit", op.label_logit, {tokens});
}

template <Space S>
void expect_shapes(const CrossEntropyRescale<S>& op) {
  expect_shape("cross_entropy.local_max", op.local_max, op.sum_exp.shape);
  expect_shape("cross_entropy.row_max", op.row_max, op.sum_exp.shape);
}

template <Space S>
void expect_shapes(const CrossEntropyLogProbability<S>& op) {
  const std::int64_t tokens = op.log_probability.shape[0];
  expect_shape("cross_entropy.labels", op.labels, {tokens});
  expect_shape("cross_entropy.row_max", op.row_max, {tokens});
  expect_shape("cross_entropy.sum_exp", op.sum_exp, {tokens});
  expect_shape("cross_entropy.label_logit", op.label_logit, {tokens});
}

template <class T, Space S>
void expect_shapes(const CrossEntropyGradient<T, S>& op) {
  const std::int64_t tokens = op.logits.shape[0];
  expect_shape("cross_entropy.labels", op.labels, {tokens});
  expect_shape("cross_entropy.weights", op.weights, {tokens});
  expect_shape("cross_entropy.row_max", op.row_max, {tokens});
  expect_shape("cross_entropy.sum_exp", op.sum_exp, {tokens});
}

template <class T, Space S>
void expect_shapes(const CrossEntropy<T, S>& op) {
  const std::int64_t tokens = op.logits.shape[0];
  expect_shape("cross_entropy.labels", op.labels, {tokens});
  expect_shape("cross_entropy.weights", op.weights, {tokens});
  expect_shape("cross_entropy.log_probability", op.log_probability, {tokens});
}

}  // namespace moebius::kernels

#include "kernels/moe/router.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/numeric/column_sums.h"
#include "kernels/numeric/exp.h"

namespace moebius::kernels {
namespace {

/// Softmax of one token's logits; returns their logsumexp.
float softmax(const float* logits, std::int64_t experts, float* probabilities) {
  float highest = logits[0], sum = 0;
  for (std::int64_t e = 1; e < experts; ++e) highest = std::max(highest, logits[e]);
#pragma omp simd reduction(+ : sum)
  for (std::int64_t e = 0; e < experts; ++e) {
    probabilities[e] = fast_exp(logits[e] - highest);
    sum += probabilities[e];
  }
#pragma omp simd
  for (std::int64_t e = 0; e < experts; ++e) probabilities[e] /= sum;
  return highest + std::log(sum);
}

/// The ids of the top_k largest, by falling value, at equal value the lower id first: insertion into a sorted
/// list.
void choose_largest(const float* probabilities, std::int64_t experts, std::int64_t top_k, std::int32_t* ids) {
  for (std::int64_t e = 0; e < experts; ++e) {
    std::int64_t place = std::min(e, top_k);
    while (place > 0 && probabilities[e] > probabilities[ids[place - 1]]) {
      if (place < top_k) ids[place] = ids[place - 1];
      --place;
    }
    if (place < top_k) ids[place] = std::int32_t(e);
  }
}

void choose_in_turn(const RouterForward<Space::host>& op, std::int64_t t) {
  const std::int64_t experts = op.logits.shape[1], top_k = op.ids.shape[1];
  for (std::int64_t c = 0; c < top_k; ++c) {
    op.ids(t, c) = std::int32_t(((t + op.token_offset) * top_k + c) % experts);
  }
}

void forward_token(const RouterForward<Space::host>& op, std::int64_t t, float* sums) {
  const std::int64_t experts = op.logits.shape[1], top_k = op.ids.shape[1];
  float* probabilities = &op.probabilities(t, 0);
  op.log_sum_exp(t) = softmax(&op.logits(t, 0), experts, probabilities);
  if (t >= op.valid_tokens) {
    std::fill_n(&op.ids(t, 0), top_k, -1);
    std::fill_n(&op.weights(t, 0), top_k, 0.0f);
    return;
  }
  if (op.routing == Routing::even) {
    choose_in_turn(op, t);
  } else {
    choose_largest(probabilities, experts, top_k, &op.ids(t, 0));
  }
  float sum = 0;
  for (std::int64_t c = 0; c < top_k; ++c) sum += op.weights(t, c) = probabilities[op.ids(t, c)];
  if (op.weight_sum == WeightSum::sum_to_one) {
    for (std::int64_t c = 0; c < top_k; ++c) op.weights(t, c) /= sum;
  }
  for (std::int64_t e = 0; e < experts; ++e) sums[e] += probabilities[e];
  sums[experts] += op.log_sum_exp(t) * op.log_sum_exp(t);
}

/// One token's dlogits, by way of dp, the gradient of its probabilities:
///
///   as_is        dp[ids[c]] = dweights[c]
///   sum_to_one   dp[ids[c]] = (dweights[c] - sum_j dweights[j] w[j]) / s,   w[c] = p[ids[c]] / s, s = sum_c
///   p[ids[c]] dlogits[e] = p[e] * (dp[e] - sum_i p[i] dp[i] + 2 * z_coefficient * log_sum_exp)
void backward_token(const RouterBackward<Space::host>& op, std::int64_t t) {
  const std::int64_t experts = op.probabilities.shape[1], top_k = op.ids.shape[1];
  const float* p = &op.probabilities(t, 0);
  float* dp = &op.dlogits(t, 0);
  for (std::int64_t e = 0; e < experts; ++e) dp[e] = op.aux_gradient.empty() ? 0.0f : op.aux_gradient(e);
  float sum = 1, mean = 0;
  if (op.weight_sum == WeightSum::sum_to_one) {
    float weighted = sum = 0;
    for (std::int64_t c = 0; c < top_k; ++c) {
      sum += p[op.ids(t, c)];
      weighted += op.dweights(t, c) * p[op.ids(t, c)];
    }
    mean = weighted / sum;
  }
  for (std::int64_t c = 0; c < top_k; ++c) dp[op.ids(t, c)] += (op.dweights(t, c) - mean) / sum;
  float projection = 0;
#pragma omp simd reduction(+ : projection)
  for (std::int64_t e = 0; e < experts; ++e) projection += p[e] * dp[e];
  const float z_term = 2 * op.z_coefficient * op.log_sum_exp(t);
#pragma omp simd
  for (std::int64_t e = 0; e < experts; ++e) dp[e] = p[e] * (dp[e] - projection + z_term);
}

}  // namespace

void router_forward(const RouterForward<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const auto [tokens, experts] = op.logits.shape;
  std::vector<float> sums(std::size_t(experts + 1),
                          0.0f);  // of each expert's probability, then of the squares
  add_column_sums(tokens, {sums.data(), {experts + 1}},
                  [&](std::int64_t t, float* partial) { forward_token(op, t, partial); });
  std::copy_n(sums.data(), experts, op.probability_sums.data);
  op.square_sum(0) = sums[std::size_t(experts)];
  std::fill_n(op.counts.data, experts, 0);
  for (std::int64_t i = 0; i < op.valid_tokens * op.ids.shape[1]; ++i) ++op.counts(op.ids.data[i]);
}

void router_backward(const RouterBackward<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const auto [tokens, experts] = op.probabilities.shape;
#pragma omp parallel for schedule(static) if (tokens > 16)
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (t < op.valid_tokens) {
      backward_token(op, t);
    } else {
      std::fill_n(&op.dlogits(t, 0), experts, 0.0f);
    }
  }
}

}  // namespace moebius::kernels

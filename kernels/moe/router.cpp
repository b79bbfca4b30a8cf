#include "kernels/moe/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/numeric/column_sums.h"
#include "kernels/numeric/exp.h"
#include "kernels/numeric/vector.h"

namespace moebius::kernels {
namespace {

/// Softmax of one token's logits; returns their logsumexp.
float softmax(const float* logits, std::int64_t experts, float* probabilities) {
  const float highest = largest(logits, experts, logits[0]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t e = 0; e < experts; ++e) {
    probabilities[e] = fast_exp(logits[e] - highest);
    sum += probabilities[e];
  }
#pragma omp simd
  for (std::int64_t e = 0; e < experts; ++e) probabilities[e] /= sum;
  return highest + std::log(sum);
}

/// A probability and whose it is. Before another in the order of choice: larger, or equal with the lower id.
struct Candidate {
  float probability;
  std::int32_t id;

  [[nodiscard]] bool is_before(const Candidate& other) const {
    return probability > other.probability || (probability == other.probability && id < other.id);
  }
};

/// The first of all experts that come after `last` in the order of choice. Where all are NaN: expert 0.
Candidate next_choice(const float* probabilities, std::int64_t experts, Candidate last) {
  Vector best = broadcast(-1);
  IntVector best_ids = {}, ids = lane_numbers();
  std::int64_t e = 0;
  for (; e + kVectorWidth <= experts; e += kVectorWidth, ids += kVectorWidth) {
    const Vector p = load(probabilities + e);
    const IntVector is_left = (p < last.probability) | ((p == last.probability) & (ids > last.id));
    const IntVector is_better = is_left & (p > best);
    best = is_better ? p : best;
    best_ids = is_better ? ids : best_ids;
  }
  const Vector highest = fold_lanes(best, [](Vector a, Vector b) { return a > b ? a : b; });
  const IntVector tied_ids =
      best == highest ? best_ids : IntVector{} + std::numeric_limits<std::int32_t>::max();
  const IntVector lowest_id = fold_lanes(tied_ids, [](IntVector a, IntVector b) { return a < b ? a : b; });
  Candidate choice{highest[0], lowest_id[0]};
  for (; e < experts; ++e) {
    const Candidate candidate{probabilities[e], std::int32_t(e)};
    if (last.is_before(candidate) && candidate.is_before(choice)) choice = candidate;
  }
  return choice;
}

void choose_largest(const float* probabilities, std::int64_t experts, std::int64_t top_k, std::int32_t* ids) {
  Candidate last{2, -1};  // before every probability
  for (std::int64_t c = 0; c < top_k; ++c) {
    last = next_choice(probabilities, experts, last);
    ids[c] = last.id;
  }
}

void choose_in_turn(const RouterForward<Space::host>& op, std::int64_t t) {
  const std::int64_t experts = op.logits.shape[1], top_k = op.ids.shape[1];
  for (std::int64_t c = 0; c < top_k; ++c) {
    op.ids(t, c) = std::int32_t((op.positions(t) * top_k + c) % experts);
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
template <class T>
void backward_token(const RouterBackward<T, Space::host>& op, std::int64_t t, float* dp) {
  const std::int64_t experts = op.probabilities.shape[1], top_k = op.ids.shape[1];
  const float* p = &op.probabilities(t, 0);
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
  for (std::int64_t e = 0; e < experts; ++e) op.dlogits(t, e) = T(p[e] * (dp[e] - projection + z_term));
}

}  // namespace

void router_forward(const RouterForward<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.logits.shape[0], experts = op.logits.shape[1];
  std::vector<float> sums(std::size_t(experts + 1),
                          0.0f);  // of each expert's probability, then of the squares
  add_column_sums(tokens, {sums.data(), {experts + 1}}, Into::add,
                  [&](std::int64_t t, float* partial) { forward_token(op, t, partial); });
  std::copy_n(sums.data(), experts, op.probability_sums.data);
  op.square_sum(0) = sums[std::size_t(experts)];
  std::fill_n(op.counts.data, experts, 0);
  for (std::int64_t i = 0; i < op.valid_tokens * op.ids.shape[1]; ++i) ++op.counts(op.ids.data[i]);
}

template <class T>
void router_backward(const RouterBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.probabilities.shape[0], experts = op.probabilities.shape[1];
#pragma omp parallel if (tokens > 16)
  {
    std::vector<float> dprobabilities(std::size_t(experts), 0.0f);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < tokens; ++t) {
      if (t < op.valid_tokens) {
        backward_token(op, t, dprobabilities.data());
      } else {
        std::fill_n(&op.dlogits(t, 0), experts, T(0.0f));
      }
    }
  }
}

template void router_backward(const RouterBackward<float, Space::host>&, Queue<Space::host>);
template void router_backward(const RouterBackward<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels

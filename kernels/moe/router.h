#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Which experts a token goes to, and with what weight, from the router's logits; all in fp32 but the
/// gradient in the logits, which is rounded to the type of the products that read it.
///
///   p[t,:] = softmax(logits[t,:])
///   ids[t,:] = the top_k largest of p[t,:]
///   weights[t,c] = p[t, ids[t,c]]
///
/// The order of ids is by falling probability, at equal probability the lower id first. sum_to_one divides
/// the weights of a token by their sum (norm_topk_prob). The statistics serve two auxiliary losses of a micro
/// batch of T tokens, summed over ranks by the caller:
///
///   aux = E * sum_e f_e P_e,  f_e = counts[e] / (T * top_k) (no gradient),  P_e = probability_sums[e] / T
///   z   = square_sum / T      where square_sum = sum_t log_sum_exp[t]^2
///
/// so that aux_gradient[e] = coefficient * E * f_e / T and z_coefficient = coefficient / T in backward.
/// On a device there are at most 1024 experts, of which at most 32 are chosen.
namespace moebius::kernels {

enum class WeightSum : std::uint8_t { as_is, sum_to_one };
/// even: choice c of a token goes to expert (its position * top_k + c) % experts whatever the router
/// says, to measure with; its weights are still the router's probabilities.
enum class Routing : std::uint8_t { learned, even };

template <Space S>
struct RouterForward {
  View<const float, 2, S> logits;      // [tokens, experts]
  View<float, 2, S> probabilities;     // [tokens, experts]; saved; may be logits
  View<float, 1, S> log_sum_exp;       // [tokens]; saved
  View<std::int32_t, 2, S> ids;        // [tokens, top_k]; -1 in padding
  View<float, 2, S> weights;           // [tokens, top_k]; 0 in padding
  View<std::int32_t, 1, S> counts;     // [experts]; tokens sent to each
  View<float, 1, S> probability_sums;  // [experts]; summed in blocks of tokens, then over the blocks in order
  View<float, 1, S> square_sum;        // [1]
  std::int64_t valid_tokens = 0;       // tokens from here on are padding: in no expert and no statistic
  View<const std::int32_t, 1, S> positions;  // [tokens]; in the token's sequence (routing even), or empty
  WeightSum weight_sum = WeightSum::sum_to_one;
  Routing routing = Routing::learned;
};

template <class T, Space S>
struct RouterBackward {
  View<const float, 2, S> dweights;       // [tokens, top_k]
  View<const float, 2, S> probabilities;  // [tokens, experts]
  View<const float, 1, S> log_sum_exp;    // [tokens]
  View<const std::int32_t, 2, S> ids;     // [tokens, top_k]
  View<const float, 1, S>
      aux_gradient;         // [experts], added to the gradient of p[t,:] of each valid token; or empty
  float z_coefficient = 0;  // adds z_coefficient * 2 * log_sum_exp[t] * p[t,e]
  View<T, 2, S> dlogits;    // [tokens, experts]; overwritten, zeros in padding
  std::int64_t valid_tokens = 0;
  WeightSum weight_sum = WeightSum::sum_to_one;
};

void router_forward(const RouterForward<Space::host>&, Queue<Space::host> = {});
void router_forward(const RouterForward<Space::device>&, Queue<Space::device>);
template <class T>
void router_backward(const RouterBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void router_backward(const RouterBackward<T, Space::device>&, Queue<Space::device>);

inline void expect_router_extents(std::int64_t tokens, std::int64_t experts, std::int64_t top_k,
                                  std::int64_t valid_tokens) {
  if (top_k <= experts && valid_tokens >= 0 && valid_tokens <= tokens) return;
  throw ShapeError("router: top_k " + std::to_string(top_k) + " of " + std::to_string(experts) +
                   " experts, " + std::to_string(valid_tokens) + " valid of " + std::to_string(tokens) +
                   " tokens");
}

template <Space S>
void expect_shapes(const RouterForward<S>& op) {
  const auto [tokens, experts] = op.logits.shape;
  const std::int64_t top_k = op.ids.shape[1];
  expect_router_extents(tokens, experts, top_k, op.valid_tokens);
  expect_shape("router.probabilities", op.probabilities, {tokens, experts});
  expect_shape("router.log_sum_exp", op.log_sum_exp, {tokens});
  expect_shape("router.ids", op.ids, {tokens, top_k});
  expect_shape("router.weights", op.weights, {tokens, top_k});
  expect_shape("router.counts", op.counts, {experts});
  expect_shape("router.probability_sums", op.probability_sums, {experts});
  expect_shape("router.square_sum", op.square_sum, {1});
  if (op.routing == Routing::even) expect_shape("router.positions", op.positions, {tokens});
}

template <class T, Space S>
void expect_shapes(const RouterBackward<T, S>& op) {
  const auto [tokens, experts] = op.probabilities.shape;
  const std::int64_t top_k = op.ids.shape[1];
  expect_router_extents(tokens, experts, top_k, op.valid_tokens);
  expect_shape("router.dweights", op.dweights, {tokens, top_k});
  expect_shape("router.log_sum_exp", op.log_sum_exp, {tokens});
  expect_shape("router.ids", op.ids, {tokens, top_k});
  expect_shape("router.dlogits", op.dlogits, {tokens, experts});
  if (!op.aux_gradient.empty()) expect_shape("router.aux_gradient", op.aux_gradient, {experts});
}

}  // namespace moebius::kernels

#pragma once
#include <cstdint>

#include "tensor/queue.h"
#include "tensor/view.h"

/// Direct preference optimisation: what a pair of answers says of how each of their tokens shall move. With
/// the sums over the trained tokens of an answer
///
///   d = sum over chosen (log p - log p of the reference) - the same over rejected,   m = beta * d
///   sigmoid  loss(d) = -(1 - s) log sigmoid(m) - s log sigmoid(-m)      s: label_smoothing
///   hinge              max(0, 1 - m)
///   ipo                (d - 1 / (2 beta))^2
///
/// in two steps, because the ranks that share a sequence add up between the first and the second:
///
///   1. sequence_differences: the sums of each sequence over this rank's targets, in fp64, rounded once
///   2. preference_weights: a weight for each target, so that -sum weights * log p has the gradient of
///        pair_share * sum over pairs loss(d) - chosen_share * sum over chosen answers log p
///
/// Sequence 2 p is the chosen answer of pair p, sequence 2 p + 1 the rejected one.
namespace moebius::kernels {

enum class Preference : std::uint8_t { sigmoid, hinge, ipo };

struct PreferenceLoss {
  Preference kind = Preference::sigmoid;
  double beta = 0.1, label_smoothing = 0;
};

/// loss(d).
[[nodiscard]] double preference_loss(const PreferenceLoss& loss, double difference);

/// Its derivative, where sigmoid = 1 / (1 + exp(-beta * difference)): the same arithmetic for both twins.
[[nodiscard]] constexpr double preference_slope(const PreferenceLoss& loss, double difference,
                                                double sigmoid) {
  const double s = loss.label_smoothing;
  if (loss.kind == Preference::sigmoid) return loss.beta * (s * sigmoid - (1 - s) * (1 - sigmoid));
  if (loss.kind == Preference::hinge) return loss.beta * difference < 1 ? -loss.beta : 0;
  return 2 * (difference - 1 / (2 * loss.beta));
}

template <Space S>
struct SequenceDifferences {
  View<const float, 1, S> log_probabilities, reference;  // [targets]
  View<const std::int32_t, 1, S> target_starts;  // [sequences + 1]; first target of each, then the end
  View<float, 1, S> differences;                 // [sequences]; overwritten
};

template <Space S>
struct PreferenceWeights {
  PreferenceLoss loss;
  double pair_share = 0, chosen_share = 0;
  View<const float, 1, S> differences;           // [2 * pairs]
  View<const std::int32_t, 1, S> target_starts;  // [2 * pairs + 1]
  View<float, 1, S> weights;                     // [targets]; overwritten
};

void sequence_differences(const SequenceDifferences<Space::host>&, Queue<Space::host> = {});
void sequence_differences(const SequenceDifferences<Space::device>&, Queue<Space::device>);
void preference_weights(const PreferenceWeights<Space::host>&, Queue<Space::host> = {});
void preference_weights(const PreferenceWeights<Space::device>&, Queue<Space::device>);

template <Space S>
void expect_shapes(const SequenceDifferences<S>& op) {
  expect_shape("sequence_differences.reference", op.reference, op.log_probabilities.shape);
  expect_shape("sequence_differences.target_starts", op.target_starts, {op.differences.size() + 1});
}

template <Space S>
void expect_shapes(const PreferenceWeights<S>& op) {
  expect_shape("preference_weights.differences", op.differences, {op.differences.size() / 2 * 2});
  expect_shape("preference_weights.target_starts", op.target_starts, {op.differences.size() + 1});
}

}  // namespace moebius::kernels

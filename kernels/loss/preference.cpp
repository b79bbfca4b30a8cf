#include "kernels/loss/preference.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace moebius::kernels {
namespace {

/// log(1 + exp(x)), which is -log sigmoid(-x).
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

}  // namespace

double preference_loss(const PreferenceLoss& loss, double difference) {
  const double margin = loss.beta * difference, s = loss.label_smoothing;
  switch (loss.kind) {
    case Preference::sigmoid: return (1 - s) * softplus(-margin) + s * softplus(margin);
    case Preference::hinge: return std::max(0.0, 1 - margin);
    case Preference::ipo: return std::pow(difference - 1 / (2 * loss.beta), 2);
  }
  throw std::logic_error("a preference loss of no kind");
}

void sequence_differences(const SequenceDifferences<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  for (std::int64_t sequence = 0; sequence < op.differences.size(); ++sequence) {
    double sum = 0;  // in the order of the targets
    for (std::int64_t t = op.target_starts(sequence); t < op.target_starts(sequence + 1); ++t)
      sum += double(op.log_probabilities(t)) - double(op.reference(t));
    op.differences(sequence) = float(sum);
  }
}

void preference_weights(const PreferenceWeights<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  for (std::int64_t chosen = 0; chosen < op.differences.size(); chosen += 2) {
    const double difference = double(op.differences(chosen)) - double(op.differences(chosen + 1));
    const double sigmoid = 1 / (1 + std::exp(-op.loss.beta * difference));
    const double slope = op.pair_share * preference_slope(op.loss, difference, sigmoid);
    const std::int64_t begin = op.target_starts(chosen), middle = op.target_starts(chosen + 1),
                       end = op.target_starts(chosen + 2);
    for (std::int64_t t = begin; t < middle; ++t) op.weights(t) = float(op.chosen_share - slope);
    for (std::int64_t t = middle; t < end; ++t) op.weights(t) = float(slope);
  }
}

}  // namespace moebius::kernels

#include "kernels/loss/preference.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

const PreferenceLoss kLosses[] = {{Preference::sigmoid, 0.1, 0},
                                  {Preference::sigmoid, 0.5, 0.2},
                                  {Preference::hinge, 0.2, 0},
                                  {Preference::ipo, 0.3, 0}};

/// Three pairs, one with an answer that has no target here.
struct Pairs {
  Tensor<float, 1> log_probabilities{{14}}, reference{{14}}, differences{{6}}, weights{{14}};
  Tensor<std::int32_t, 1> target_starts{{7}, {0, 3, 7, 7, 9, 13, 14}};

  Pairs() {
    test::fill_normal(log_probabilities, 1, 4);
    test::fill_normal(reference, 2, 4);
  }
  void run(const PreferenceLoss& loss, double pair_share, double chosen_share) const {
    sequence_differences({.log_probabilities = log_probabilities.view(),
                          .reference = reference.view(),
                          .target_starts = target_starts.view(),
                          .differences = differences.view()});
    preference_weights({.loss = loss,
                        .pair_share = pair_share,
                        .chosen_share = chosen_share,
                        .differences = differences.view(),
                        .target_starts = target_starts.view(),
                        .weights = weights.view()});
  }
  /// pair_share * sum loss(d) - chosen_share * sum log p, in fp64 from the definition.
  [[nodiscard]] double objective(const PreferenceLoss& loss, double pair_share, double chosen_share) const {
    double sum = 0;
    for (std::int64_t pair = 0; pair < 3; ++pair) {
      double d = 0;
      for (std::int64_t t = target_starts[2 * pair]; t < target_starts[2 * pair + 2]; ++t) {
        const bool is_chosen = t < target_starts[2 * pair + 1];
        const double ratio = double(log_probabilities[t]) - double(reference[t]);
        d += is_chosen ? ratio : -ratio;
        if (is_chosen) sum -= chosen_share * double(log_probabilities[t]);
      }
      const double m = loss.beta * d, s = loss.label_smoothing;
      if (loss.kind == Preference::sigmoid)
        sum += pair_share * ((1 - s) * std::log(1 + std::exp(-m)) + s * std::log(1 + std::exp(m)));
      if (loss.kind == Preference::hinge) sum += pair_share * std::max(0.0, 1 - m);
      if (loss.kind == Preference::ipo) sum += pair_share * std::pow(d - 1 / (2 * loss.beta), 2);
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("weights of targets are the slopes of the preference loss", "[kernels][preference]") {
  const Pairs pairs;
  constexpr double pair_share = 0.25, chosen_share = 0.125, step = 1e-3;
  for (const PreferenceLoss& loss : kLosses) {
    INFO("kind " << int(loss.kind) << ", beta " << loss.beta);
    pairs.run(loss, pair_share, chosen_share);
    for (std::int64_t t = 0; t < 14; ++t) {
      const float before = pairs.log_probabilities[t];
      pairs.log_probabilities[t] = float(before + step);
      const double above = pairs.objective(loss, pair_share, chosen_share), high = pairs.log_probabilities[t];
      pairs.log_probabilities[t] = float(before - step);
      const double below = pairs.objective(loss, pair_share, chosen_share), low = pairs.log_probabilities[t];
      pairs.log_probabilities[t] = before;
      CHECK(-pairs.weights[t] == Approx((above - below) / (high - low)).epsilon(1e-5).margin(1e-7));
    }
  }
}

TEST_CASE("preference losses are right where exp overflows", "[kernels][preference]") {
  for (const PreferenceLoss& loss : kLosses) {
    if (loss.kind != Preference::sigmoid) continue;
    const double s = loss.label_smoothing, m = loss.beta * 1e5;
    CHECK(preference_loss(loss, 1e5) == Approx(s * m));
    CHECK(preference_loss(loss, -1e5) == Approx((1 - s) * m));
    CHECK(preference_loss(loss, 0) == Approx(std::log(2.0)));
  }
  CHECK(preference_loss({Preference::hinge, 0.1, 0}, 5) == Approx(0.5));
  CHECK(preference_loss({Preference::hinge, 0.1, 0}, 20) == 0);
  CHECK(preference_loss({Preference::ipo, 0.1, 0}, 7) == Approx(4));
}

TEST_CASE("a pair that says all it can moves no tokens", "[kernels][preference]") {
  const Pairs pairs;
  pairs.log_probabilities[0] = 1e6f, pairs.log_probabilities[7] = -1e6f, pairs.log_probabilities[9] = 1e6f;
  pairs.run({Preference::sigmoid, 0.1, 0}, 1, 0);
  for (const std::int64_t t : {0, 1, 2, 3, 9, 13}) CHECK(pairs.weights[t] == 0);
  pairs.run({Preference::hinge, 0.1, 0}, 1, 0);
  CHECK(pairs.weights[0] == 0);
  pairs.log_probabilities[7] = 1e6f;  // the wrong way: of a rejected answer whose chosen one has no targets
  pairs.run({Preference::hinge, 0.1, 0}, 1, 0);
  CHECK(pairs.weights[8] == Approx(-0.1));
}

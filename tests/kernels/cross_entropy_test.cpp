#include "kernels/loss/cross_entropy.h"

#include <cmath>
#include <optional>

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

/// The columns of one rank, and what it computes of them.
struct Part {
  Tensor<float, 2> logits;
  Tensor<float, 1> local_max, sum_exp, label_logit;
  std::int64_t vocab_begin;

  Part(const Tensor<float, 2>& whole, std::int64_t begin, std::int64_t count)
      : logits({whole.shape()[0], count}),
        local_max({whole.shape()[0]}),
        sum_exp({whole.shape()[0]}),
        label_logit({whole.shape()[0]}),
        vocab_begin(begin) {
    for (std::int64_t t = 0; t < whole.shape()[0]; ++t) {
      for (std::int64_t c = 0; c < count; ++c) logits.view()(t, c) = whole.view()(t, begin + c);
    }
  }
};

constexpr std::int64_t kTokens = 9, kVocab = 5000;

struct Case {
  Tensor<float, 2> logits{{kTokens, kVocab}};
  Tensor<std::int32_t, 1> labels{{kTokens}, {0, 4999, 2047, 2048, -100, 17, 3000, -100, 1}};
  Tensor<float, 1> weights{{kTokens}}, log_probability{{kTokens}};

  Case() {
    fill_normal(logits, 1, 3);
    fill_normal(weights, 2);
    for (std::int64_t c = 0; c < kVocab; ++c) logits.view()(2, c) += 500, logits.view()(3, c) -= 500;
    logits.view()(6, 4000) = 90;  // the maximum rises in a later block
  }
  void statistics(Part& part) {
    cross_entropy_statistics<float>({.logits = part.logits.view(),
                                     .labels = labels.view(),
                                     .vocab_begin = part.vocab_begin,
                                     .row_max = part.local_max.view(),
                                     .sum_exp = part.sum_exp.view(),
                                     .label_logit = part.label_logit.view()});
  }
  void gradient(Part& part, Part& all) {
    cross_entropy_gradient<float>({.logits = part.logits.view(),
                                   .labels = labels.view(),
                                   .weights = weights.view(),
                                   .vocab_begin = part.vocab_begin,
                                   .row_max = all.local_max.view(),
                                   .sum_exp = all.sum_exp.view()});
  }
  void check(const Part& part) {
    for (std::int64_t t = 0; t < kTokens; ++t) {
      double highest = -1e30, sum = 0;
      for (std::int64_t c = 0; c < kVocab; ++c) highest = std::max(highest, double(logits.view()(t, c)));
      for (std::int64_t c = 0; c < kVocab; ++c) sum += std::exp(double(logits.view()(t, c)) - highest);
      const bool is_trained = labels[t] >= 0;
      const double expected = is_trained ? double(logits.view()(t, labels[t])) - highest - std::log(sum) : 0;
      CHECK(log_probability[t] == Approx(expected).epsilon(1e-6));
      double worst = 0;
      for (std::int64_t c = 0; c < part.logits.shape()[1]; ++c) {
        const std::int64_t column = part.vocab_begin + c;
        const double p = std::exp(double(logits.view()(t, column)) - highest) / sum;
        const double slope = is_trained ? double(weights[t]) * (p - (column == labels[t] ? 1 : 0)) : 0;
        worst = std::max(worst, std::abs(double(part.logits.view()(t, c)) - slope));
      }
      CHECK(worst < 2e-6);
    }
  }
};

}  // namespace

TEST_CASE("cross entropy agrees with softmax in double", "[kernels][cross_entropy]") {
  Case host;
  Part all(host.logits, 0, kVocab);
  host.statistics(all);
  cross_entropy_log_probability({.labels = host.labels.view(),
                                 .row_max = all.local_max.view(),
                                 .sum_exp = all.sum_exp.view(),
                                 .label_logit = all.label_logit.view(),
                                 .log_probability = host.log_probability.view()});
  host.gradient(all, all);
  host.check(all);
}

TEST_CASE("cross entropy in one pass agrees with softmax in double", "[kernels][cross_entropy]") {
  Case host;
  const Part all(host.logits, 0, kVocab);
  cross_entropy<float>({.logits = all.logits.view(),
                        .labels = host.labels.view(),
                        .weights = host.weights.view(),
                        .log_probability = host.log_probability.view()});
  host.check(all);
}

TEST_CASE("cross entropy over a split vocabulary is that over the whole", "[kernels][cross_entropy]") {
  Case host;
  Part all(host.logits, 0, 1);  // holds what the ranks agree on
  Part parts[] = {Part(host.logits, 0, 2048), Part(host.logits, 2048, 2950), Part(host.logits, 4998, 2)};
  for (Part& part : parts) host.statistics(part);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    all.local_max[t] = std::max({parts[0].local_max[t], parts[1].local_max[t], parts[2].local_max[t]});
  }
  for (Part& part : parts) {
    cross_entropy_rescale({.local_max = part.local_max.view(),
                           .row_max = all.local_max.view(),
                           .sum_exp = part.sum_exp.view()});
    for (std::int64_t t = 0; t < kTokens; ++t) {
      all.sum_exp[t] += part.sum_exp[t];
      all.label_logit[t] += part.label_logit[t];
    }
  }
  cross_entropy_log_probability({.labels = host.labels.view(),
                                 .row_max = all.local_max.view(),
                                 .sum_exp = all.sum_exp.view(),
                                 .label_logit = all.label_logit.view(),
                                 .log_probability = host.log_probability.view()});
  for (Part& part : parts) {
    host.gradient(part, all);
    host.check(part);
  }
}

TEST_CASE("cross entropy lets a NaN through to the loss", "[kernels][cross_entropy]") {
  Case host;
  host.logits.view()(5, 3000) = std::nanf("");
  Part all(host.logits, 0, kVocab);
  host.statistics(all);
  CHECK(std::isnan(all.sum_exp[5]));
  CHECK(std::isfinite(all.sum_exp[6]));
}

TEST_CASE("cross entropy does not depend on the number of threads", "[kernels][cross_entropy]") {
  Case host;
  test::check_thread_invariance([&] {
    Part all(host.logits, 0, kVocab);
    host.statistics(all);
    return all.sum_exp.values();
  });
}

TEST_CASE("cross entropy names the tensor whose shape is wrong", "[kernels][cross_entropy]") {
  Case host;
  Part all(host.logits, 0, kVocab);
  CHECK_THROWS_WITH(cross_entropy_gradient<float>({.logits = all.logits.view(),
                                                   .labels = host.labels.view(),
                                                   .weights = host.weights.view().slice(0, 3),
                                                   .vocab_begin = 0,
                                                   .row_max = all.local_max.view(),
                                                   .sum_exp = all.sum_exp.view()}),
                    "cross_entropy.weights: expected [9], got [3]");
}

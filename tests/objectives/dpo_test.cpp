#include "objectives/dpo.h"

#include <cmath>

#include "objectives/objectives.h"
#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

using Dpo = objectives::Dpo<HostFp32>;

data::Sample pair_of(std::vector<std::int32_t> chosen, const std::vector<std::int32_t>& rejected) {
  data::Sample pair{.ids = std::move(chosen), .labels = {}, .loss_scale = {}};
  pair.rejected_begin = std::int64_t(pair.ids.size());
  pair.ids.insert(pair.ids.end(), rejected.begin(), rejected.end());
  pair.labels = pair.ids;
  pair.labels[0] = pair.labels[1] = pair.labels[std::size_t(pair.rejected_begin)] = data::kNotTrained;
  return pair;
}

const std::vector<data::Sample>& pairs() {
  static const std::vector<data::Sample> all{pair_of({3, 9, 4, 1, 7}, {3, 9, 6, 2}),
                                             pair_of({8, 2, 6}, {8, 5, 5, 1, 30, 2}),
                                             pair_of({11, 12, 13, 14}, {11, 12, 1})};
  return all;
}

std::vector<data::MicroBatch> in_micro_batches(std::size_t size) {
  std::vector<data::MicroBatch> batches;
  for (std::size_t i = 0; i < pairs().size(); ++i) {
    if (i % size == 0) batches.emplace_back();
    batches.back().append(pairs()[i].view());
  }
  return batches;
}

/// Some log-probability of each target: a reference that is no model.
std::vector<std::vector<float>> made_up(objectives::Batches batches) {
  std::vector<std::vector<float>> values;
  for (const data::MicroBatch& batch : batches) {
    values.emplace_back();
    for (std::size_t t = 0; t < batch.targets.size(); ++t) {
      if (batch.targets[t] >= 0)
        values.back().push_back(-3.5f + 0.01f * float(batch.ids[t]) + 0.1f * float(batch.positions[t]));
    }
  }
  return values;
}

/// Three pairs through a small model, as micro batches of `size`.
class Training {
 public:
  Training(test::ModelRig& rig, const Dpo::Settings& settings)
      : rig_(rig),
        dpo_(settings, made_up),
        passes_(rig.decoder(), {.slots = slots_, .pending = pending_, .messages = messages_}) {}

  objectives::Objective<HostFp32>::Numbers train(std::size_t size) {
    const auto batches = in_micro_batches(size);
    dpo_.begin(batches, counts());
    const parallel::PipelineSchedule schedule = parallel::make_schedule(
        parallel::ScheduleKind::one_f_one_b, {.micro_batches = std::int64_t(batches.size())});
    return numbers(passes_.train({.schedule = schedule,
                                  .batches = batches,
                                  .objective = dpo_,
                                  .coefficients = {},
                                  .gradients = rig_.gradients()}));
  }
  double loss() {
    const auto batches = in_micro_batches(3);
    dpo_.begin(batches, {});
    return numbers(passes_.evaluate(batches)).front().second;
  }

 private:
  static objectives::BatchCounts counts() {
    const data::MicroBatch all = in_micro_batches(3).front();
    return {.trained = all.trained(), .pairs = all.pairs, .trained_chosen = all.trained_chosen()};
  }
  objectives::Objective<HostFp32>::Numbers numbers(const std::vector<objectives::QueuedResult>& results) {
    std::vector<double> measured;
    for (std::size_t i = 0; i < results.size(); ++i)
      dpo_.measure(std::int64_t(i), results[i].predictions.value(), measured);
    return dpo_.numbers(dpo_.totals(measured), counts());
  }

  test::ModelRig& rig_;
  ArenaSlots<Space::host> slots_{"activations", 1}, pending_{"pending", 0};
  Arena<Space::host> messages_{"messages"};
  Dpo dpo_;
  objectives::Passes<HostFp32> passes_;
};

const Dpo::Settings kSettings[] = {
    {.loss = {.kind = kernels::Preference::sigmoid, .beta = 0.3, .label_smoothing = 0.1}, .rpo_alpha = 0.5},
    {.loss = {.kind = kernels::Preference::ipo, .beta = 0.4}, .rpo_alpha = 0},
    {.loss = {.kind = kernels::Preference::hinge, .beta = 0.2}, .rpo_alpha = 1}};

}  // namespace

TEST_CASE("gradients are those of the preference loss", "[objectives][dpo]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  for (const Dpo::Settings& settings : kSettings) {
    test::ModelRig rig(test::tiny_dense(), *exchange);
    Training training(rig, settings);
    CHECK(training.train(1).front().second == test::Approx(training.loss()));
    const std::size_t row = rig.layout().index_of("layers.1.mlp.down");
    for (const std::int64_t element : {0, 17, 101}) {
      float& weight = rig.weights()[row].data[element];
      const float before = weight, step = 2e-2f;
      weight = before + step;
      const double above = training.loss();
      weight = before - step;
      const double below = training.loss();
      weight = before;
      INFO("kind " << int(settings.loss.kind) << ", element " << element);
      CHECK(rig.gradients()[row](element) ==
            test::Approx((above - below) / (2 * double(step))).epsilon(0.02).margin(5e-5));
    }
  }
}

TEST_CASE("pairs give the same numbers and gradients however they lie in micro batches",
          "[objectives][dpo]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(test::tiny_dense(), *exchange);
  Training training(rig, kSettings[0]);
  const auto alone = training.train(1);
  const std::vector<float> gradients = rig.host_gradients();
  rig.clear_gradients();
  const auto together = training.train(3);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    INFO(alone[i].first);
    CHECK(together[i].second == test::Approx(alone[i].second).margin(1e-6));
  }
  double worst = 0;
  const std::vector<float> others = rig.host_gradients();
  for (std::size_t i = 0; i < gradients.size(); ++i)
    worst = std::max(worst, std::abs(double(gradients[i]) - double(others[i])));
  CHECK(worst < 1e-6);
}

TEST_CASE("numbers of pairs are means over pairs, and tokens' over chosen tokens", "[objectives][dpo]") {
  Dpo dpo({.loss = {.kind = kernels::Preference::hinge, .beta = 0.5}, .rpo_alpha = 2}, made_up);
  // Of two pairs: log-probability and what of it is more than the reference's, chosen then rejected.
  const std::vector<double> measured{-10, 1, -20, -2, -30, -3, -40, 3};
  const auto numbers = dpo.numbers(dpo.totals(measured), {.trained = 14, .pairs = 2, .trained_chosen = 8});
  const std::vector<std::pair<std::string, double>> expected{{"loss", 2 + 2 * 5},
                                                             {"dpo_loss", 2},
                                                             {"rpo_loss", 5},
                                                             {"reward_margin", -0.75},
                                                             {"reward_accuracy", 0.5},
                                                             {"reward_chosen", -0.5},
                                                             {"reward_rejected", 0.25},
                                                             {"log_probability_chosen", -20},
                                                             {"log_probability_rejected", -30}};
  CHECK(numbers == expected);
}

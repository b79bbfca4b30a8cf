#include <algorithm>
#include <map>
#include <set>

#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/simulate.h"
#include "tests/support/catch.h"

using namespace moebius::parallel;
using moebius::test::Approx;

namespace {

struct Case {
  ScheduleKind kind;
  PipelineShape shape;
};

/// Stages 1 to 8, chunks up to 4, few micro batches and many.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (std::int64_t stages = 1; stages <= 8; ++stages) {
    for (const std::int64_t micro_batches : {1, 2, 3, 7, 8, 16, 33}) {
      all.push_back({ScheduleKind::one_f_one_b, {stages, 1, micro_batches}});
      all.push_back({ScheduleKind::zero_bubble, {stages, 1, micro_batches}});
    }
    for (const std::int64_t chunks : {2, 3, 4}) {
      for (const std::int64_t groups : {1, 2, 5})
        all.push_back({ScheduleKind::interleaved, {stages, chunks, groups * stages}});
    }
  }
  return all;
}

std::string name_of(const Case& one) {
  return "kind " + std::to_string(int(one.kind)) + ", " + std::to_string(one.shape.stages) + " stages, " +
         std::to_string(one.shape.chunks) + " chunks, " + std::to_string(one.shape.micro_batches) +
         " micro batches";
}

template <class Check>
void on_every_case(const Check& check) {
  for (const Case& one : cases()) {
    INFO(name_of(one));
    check(make_schedule(one.kind, one.shape));
  }
}

/// How often each micro batch and chunk had each kind of work.
std::map<std::pair<std::int64_t, std::int64_t>, std::array<int, kWorkCount>> counts_of(
    const StageSchedule& list) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::array<int, kWorkCount>> counts;
  for (const Instruction& one : list) ++counts[{one.micro_batch, one.chunk}][std::size_t(one.work)];
  return counts;
}

/// The messages of one kind between two stages, as each side comes to them.
using EdgeMessages = std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Instruction>>;

bool is_gradient(Work work) {
  return work == Work::backward || work == Work::backward_input;
}

Timeline unit_timeline(ScheduleKind kind, const PipelineShape& shape, UnitDurations durations = {}) {
  durations.chunks = shape.chunks;
  return simulate(make_schedule(kind, shape), durations);
}

}  // namespace

TEST_CASE("every micro batch goes forward and backward once through every chunk", "[parallel][pipeline]") {
  on_every_case([](const PipelineSchedule& schedule) {
    REQUIRE(std::int64_t(schedule.stages.size()) == schedule.shape.stages);
    for (const StageSchedule& list : schedule.stages) {
      const auto counts = counts_of(list);
      REQUIRE(std::int64_t(counts.size()) == schedule.shape.micro_batches * schedule.shape.chunks);
      for (const auto& [key, count] : counts) {
        const auto [forward, backward, input, weight] = count;
        REQUIRE(forward == 1);
        REQUIRE(backward + input == 1);
        REQUIRE(input == weight);
      }
    }
  });
}

TEST_CASE("of each kind of work micro batches come in order in every chunk", "[parallel][pipeline]") {
  on_every_case([](const PipelineSchedule& schedule) {
    for (const StageSchedule& list : schedule.stages) {
      std::map<std::pair<std::int64_t, int>, std::int64_t> next;
      for (const Instruction& one : list) {
        const int kind = one.work == Work::forward ? 0 : is_gradient(one.work) ? 1 : 2;
        REQUIRE(next[{one.chunk, kind}]++ == one.micro_batch);
      }
    }
  });
}

TEST_CASE("both sides of every pair of stages come to its messages in the same order",
          "[parallel][pipeline]") {
  on_every_case([](const PipelineSchedule& schedule) {
    const PipelineShape& shape = schedule.shape;
    for (const bool gradients : {false, true}) {
      EdgeMessages sent, needed;
      for (std::int64_t stage = 0; stage < shape.stages; ++stage) {
        for (Instruction one : schedule.stages[std::size_t(stage)]) {
          if (one.work == Work::backward_weight || is_gradient(one.work) != gradients) continue;
          one.work = gradients ? Work::backward : Work::forward;
          if (const auto source = source_of(shape, {stage, one}))
            needed[{source->stage, stage}].push_back(source->instruction);
          const std::int64_t to = shape.virtual_stage(stage, one.chunk) + (gradients ? -1 : 1);
          if (to >= 0 && to < shape.virtual_stages()) sent[{stage, to % shape.stages}].push_back(one);
        }
      }
      REQUIRE(sent == needed);
    }
  });
}

TEST_CASE("no schedule stands still, with any durations and with two gradients under way",
          "[parallel][pipeline]") {
  on_every_case([](const PipelineSchedule& schedule) {
    for (const UnitDurations& durations :
         {UnitDurations{1, 1, 1}, UnitDurations{1, 5, 0.1}, UnitDurations{3, 0.2, 4}}) {
      for (const std::int64_t sent : {2, 3, 1000}) {
        const Timeline timeline = simulate(schedule, durations, {.latency = 0.1, .sent = sent});
        for (std::size_t stage = 0; stage < timeline.stages.size(); ++stage)
          REQUIRE(timeline.stages[stage].size() == schedule.stages[stage].size());
      }
    }
  });
}

TEST_CASE("a schedule whose stages wait for each other is found out", "[parallel][pipeline]") {
  PipelineSchedule schedule = make_schedule(ScheduleKind::one_f_one_b, {2, 1, 2});
  std::swap(schedule.stages[0].front(), schedule.stages[0].back());
  CHECK_THROWS_WITH(simulate(schedule, UnitDurations{}), moebius::test::contains("stands still"));
}

TEST_CASE("micro batches in flight stay within their bound", "[parallel][pipeline]") {
  on_every_case([](const PipelineSchedule& schedule) {
    const auto& [stages, chunks, micro_batches] = schedule.shape;
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      const StageLoad load = load_of(schedule.stages[std::size_t(stage)]);
      REQUIRE(load.in_flight <= 2 * (stages - 1) + (chunks - 1) * stages + 1);
      if (chunks == 1) REQUIRE(load.in_flight <= stages);
      REQUIRE(load.pending <= stages);
    }
  });
  const PipelineSchedule plain = make_schedule(ScheduleKind::one_f_one_b, {4, 1, 16});
  for (std::int64_t stage = 0; stage < 4; ++stage)
    CHECK(load_of(plain.stages[std::size_t(stage)]).in_flight == 4 - stage);
  const PipelineSchedule split = make_schedule(ScheduleKind::zero_bubble, {4, 1, 16});
  CHECK(load_of(split.stages[0]).pending == 0);
  for (std::int64_t stage = 1; stage < 4; ++stage)
    CHECK(load_of(split.stages[std::size_t(stage)]).pending <= stage + 1);
}

TEST_CASE("schedules as text", "[parallel][pipeline]") {
  const auto text = [](ScheduleKind kind, const PipelineShape& shape, std::size_t stage) {
    return to_text(make_schedule(kind, shape).stages[stage], shape.chunks);
  };
  CHECK(text(ScheduleKind::one_f_one_b, {1, 1, 3}, 0) == "F0 B0 F1 B1 F2 B2");
  CHECK(text(ScheduleKind::one_f_one_b, {3, 1, 4}, 0) == "F0 F1 F2 B0 F3 B1 B2 B3");
  CHECK(text(ScheduleKind::one_f_one_b, {3, 1, 4}, 2) == "F0 B0 F1 B1 F2 B2 F3 B3");
  CHECK(text(ScheduleKind::interleaved, {2, 2, 2}, 0) == "F0.0 F1.0 F0.1 F1.1 B0.1 B1.1 B0.0 B1.0");
  CHECK(text(ScheduleKind::interleaved, {2, 2, 2}, 1) == "F0.0 F1.0 F0.1 B0.1 F1.1 B1.1 B0.0 B1.0");
  CHECK(text(ScheduleKind::zero_bubble, {2, 1, 3}, 0) == "F0 F1 B0 F2 B1 B2");
  CHECK(text(ScheduleKind::zero_bubble, {3, 1, 4}, 2) == "F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3");
  CHECK(to_text(forward_schedule({2, 2, 2}).stages[0], 2) == "F0.0 F0.1 F1.0 F1.1");
}

TEST_CASE("bubbles are as long as the papers say", "[parallel][pipeline]") {
  for (const std::int64_t p : {2, 4, 8}) {
    for (const std::int64_t m : {p, 2 * p, 4 * p}) {
      INFO(p << " stages, " << m << " micro batches");
      const double plain = unit_timeline(ScheduleKind::one_f_one_b, {p, 1, m}).bubble_share();
      CHECK(plain == Approx(double(p - 1) / double(m + p - 1)));
      for (const std::int64_t chunks : {2, 4}) {
        const double share = unit_timeline(ScheduleKind::interleaved, {p, chunks, m}).bubble_share();
        CHECK(share == Approx(double(p - 1) / double(chunks * m + p - 1)));
      }
      // A stage computes 3 m and waits (p - 1) (forward + input - weight).
      const Timeline split = unit_timeline(ScheduleKind::zero_bubble, {p, 1, m});
      CHECK(split.end == Approx(double(3 * m + p - 1)));
      CHECK(split.bubble_share() < 0.5 * plain);
    }
  }
}

TEST_CASE("shapes that a kind does not allow are refused", "[parallel][pipeline]") {
  CHECK_THROWS_AS(make_schedule(ScheduleKind::one_f_one_b, {2, 2, 4}), std::logic_error);
  CHECK_THROWS_AS(make_schedule(ScheduleKind::zero_bubble, {2, 2, 4}), std::logic_error);
  CHECK_THROWS_AS(make_schedule(ScheduleKind::interleaved, {4, 2, 6}), std::logic_error);
}

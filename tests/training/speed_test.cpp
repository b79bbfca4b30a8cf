#include "training/speed.h"

#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// A step of `scale` x 10 ms: 4 ms and 5 ms of experts, 1 ms of optimizer.
training::StepTimes step_of(double scale) {
  training::StepTimes step;
  step.parts.at(Part::experts, Pass::forward) = scale * 4e-3;
  step.parts.at(Part::experts, Pass::backward) = scale * 5e-3;
  step.parts.at(Part::optimizer, Pass::update) = scale * 1e-3;
  step.seconds = scale * 10e-3;
  step.load = {.tokens = 100, .targets = 100, .squares = 1000, .micro_batches = 2};
  return step;
}

}  // namespace

TEST_CASE("the mean leaves out the steps that warm up, where there are others", "[training][speed]") {
  training::Speed speed;
  CHECK(speed.first() == 0);
  for (std::int64_t iteration = 11; iteration <= 13; ++iteration) speed.add(iteration, step_of(100));
  CHECK(speed.first() == 11);
  CHECK(speed.mean().seconds == test::Approx(1.0));
  speed.add(14, step_of(1));
  speed.add(15, step_of(3));
  CHECK(speed.first() == 14);
  CHECK(speed.last() == 15);
  CHECK(speed.mean().seconds == test::Approx(20e-3));
  CHECK(speed.mean().parts.at(Part::experts, Pass::backward) == test::Approx(10e-3));
  CHECK(speed.mean().load.tokens == test::Approx(100));
  CHECK(speed.mean().load.micro_batches == test::Approx(2));
}

TEST_CASE("the table holds times beside their limits", "[training][speed]") {
  training::Speed speed;
  speed.add(1, step_of(1));
  training::SpeedFacts facts{
      .operations = {{Part::experts, Pass::forward, 3e9, 0}, {Part::optimizer, Pass::update, 0, 5e5}},
      .peaks = plan::Peaks{.flops = 1e12, .bytes = 1e9},
      .hardware = "2 SMs at 1.00 GHz",
      .memory = "1 GiB in use, 1.1 GiB planned",
      .seconds_to_first_step = 2.5};
  CHECK(training::speed_text(speed, facts) ==
        "ms a step                  forward  backward       all    share     limit     of it\n"
        "experts                       4.00      5.00      9.00   90.0 %      3.00    33.3 %\n"
        "optimizer                                         1.00   10.0 %      0.50    50.0 %\n"
        "step                                             10.00  100.0 %      3.50    35.0 %\n"
        "mean of iterations 1 to 1\n"
        "10000 tokens/s, 0.3 model TFLOP/s, 30.0 % of 1 (2 SMs at 1.00 GHz)\n"
        "memory: 1 GiB in use, 1.1 GiB planned\n"
        "first step done 2.5 s after the program's start");
  facts.peaks.reset();
  facts.ranks = 4;
  const std::string text = training::speed_text(speed, facts);
  CHECK(text.find("limit ") == std::string::npos);
  CHECK(text.find("; times, FLOPs and memory of rank 0 of 4\n") != std::string::npos);
  CHECK(text.find("no limits: what this machine could do is not known") != std::string::npos);
}

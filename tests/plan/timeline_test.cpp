#include "plan/timeline.h"

#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// Eight dense layers, a head that costs next to nothing.
models::ModelConfig eight_layers() {
  models::ModelConfig config = test::tiny_dense();
  config.layers = 8;
  config.vocab = 2;
  config.is_moe_layer.assign(8, false);
  return config;
}

plan::PipelinePlan planned(std::int64_t chunks, job::PipelineSchedule schedule) {
  job::Job job;
  job.parallel.pipeline = 4;
  job.parallel.virtual_pipeline = chunks;
  job.parallel.schedule = schedule;
  job.train.global_batch_size = 8;
  const plan::Machine machine{.memory = 1 << 30, .name = "the node"};
  const models::ModelConfig config = eight_layers();
  return plan::plan_pipeline({job, config, 4, 64, machine});
}

}  // namespace

TEST_CASE("the plan of a pipeline has the bubble that its schedule is known for", "[plan][pipeline]") {
  using job::PipelineSchedule;
  const double plain = planned(1, PipelineSchedule::automatic).timeline.bubble_share();
  CHECK(plain == test::Approx(3.0 / 11).epsilon(0.01));
  CHECK(planned(2, PipelineSchedule::automatic).timeline.bubble_share() ==
        test::Approx(3.0 / 19).epsilon(0.01));
  CHECK(planned(1, PipelineSchedule::zero_bubble).timeline.bubble_share() < 0.5 * plain);
}

TEST_CASE("a schedule as text and as a picture", "[plan][pipeline]") {
  const plan::PipelinePlan plan = planned(1, job::PipelineSchedule::one_f_one_b);
  const std::string text = plan::timeline_text(plan);
  CHECK_THAT(text, test::contains("stage 0   |F0 F1 F2 F3 ..................B0    F4 B1    F5 B2"));
  CHECK_THAT(text, test::contains("stage 3   |.........F0 B0    F1 B1"));
  CHECK_THAT(text, test::contains("4 stages of 2, 2, 2, 2 layers, 1f1b: 27.3 % of the time"));
  const std::string picture = plan::timeline_svg(plan);
  std::size_t boxes = 0;
  for (std::size_t at = picture.find("<title>"); at != std::string::npos;
       at = picture.find("<title>", at + 1))
    ++boxes;
  CHECK(boxes == 64);  // 4 stages, 8 micro batches, forward and backward
  CHECK_THAT(picture, test::contains("27.3 %"));
  CHECK(picture.ends_with("</svg>\n"));
}

TEST_CASE("a label that has no room is not cut to another number", "[plan][pipeline]") {
  plan::PipelinePlan plan = planned(1, job::PipelineSchedule::one_f_one_b);
  plan.schedule = parallel::make_schedule(parallel::ScheduleKind::one_f_one_b, {4, 1, 400});
  plan.timeline = parallel::simulate(plan.schedule, parallel::UnitDurations{});
  const std::string text = plan::timeline_text(plan);
  CHECK_THAT(text, !test::contains("F1"));
  CHECK_THAT(text, test::contains("FB-FB-"));
}

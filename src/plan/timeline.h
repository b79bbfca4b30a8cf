#pragma once
#include <string>

#include "parallel/pipeline/simulate.h"
#include "plan/need.h"

namespace moebius::plan {

/// A step on its pipeline before it has run.
struct PipelinePlan {
  models::Stages stages;
  parallel::PipelineSchedule schedule;  // the lists that training executes
  parallel::Timeline timeline;
};

/// By the simulator, an instruction as long as its FLOPs (models/stages.h); the unit is the forward of a mean
/// layer. Messages and what lies outside forward and backward take no time.
[[nodiscard]] PipelinePlan plan_pipeline(const Question& question);

/// "4 stages of 12, 12, 12, 10 layers, 1f1b: 8.1 % of the time of forward and backward is waiting"
[[nodiscard]] std::string pipeline_text(const PipelinePlan& plan);

/// A row a stage, time to the right: each instruction as wide as it is long, dots while the stage waits.
[[nodiscard]] std::string timeline_text(const PipelinePlan& plan);
/// The same as a picture.
[[nodiscard]] std::string timeline_svg(const PipelinePlan& plan);

}  // namespace moebius::plan

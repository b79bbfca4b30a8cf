#pragma once
#include "job/job.h"
#include "models/decoder/recompute.h"
#include "models/weight_state.h"

/// The job's words for what models call otherwise.
namespace moebius::training {

[[nodiscard]] models::Truth truth_of(job::Master master);
[[nodiscard]] models::Recompute recompute_of(job::Recompute recompute);

}  // namespace moebius::training

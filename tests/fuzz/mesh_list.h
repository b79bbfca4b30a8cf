#pragma once
#include "tests/fuzz/fuzz_job.h"

namespace moebius::fuzz {

/// One tiny mixture-of-experts model with aux and z loss, for ten steps, on every mesh of powers of two that
/// the program accepts on so many ranks. Pipelines take the schedules in turns.
[[nodiscard]] std::vector<FuzzJob> jobs_on_all_meshes(std::int64_t ranks);

}  // namespace moebius::fuzz

#pragma once
#include "tests/fuzz/fuzz_job.h"

namespace moebius::fuzz {

/// A job drawn from the seed, the same wherever it is drawn: model, data, mesh of at most `most_ranks` ranks,
/// schedule and what else may be set. Draws that the program refuses are drawn again.
[[nodiscard]] FuzzJob draw(std::int64_t seed, std::int64_t most_ranks);

/// The job on one rank, its start values changed in their last bits: how far rounding alone carries it.
/// `attempt` from 0.
[[nodiscard]] FuzzJob with_other_rounding(const FuzzJob& job, int attempt);

}  // namespace moebius::fuzz

#pragma once
#include <span>

#include "tests/fuzz/fuzz_job.h"

namespace moebius::fuzz {

/// The side that runs under mpirun: trains every job on all ranks and, the jobs shared out among the ranks,
/// on one rank; compares, and leaves result.json or mesh.error in the folder of each. A job that ends all
/// ranks has a mesh.begun and no mesh.done. Returns the exit code of the process.
[[nodiscard]] int train_jobs(std::span<const JobFolder> folders);

}  // namespace moebius::fuzz

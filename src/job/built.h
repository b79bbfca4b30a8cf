#pragma once
#include "job/report.h"

namespace moebius::job {

/// Refuses, by name, every choice of the job file that this version does not have.
void refuse_what_is_not_built(Report& report);

}  // namespace moebius::job

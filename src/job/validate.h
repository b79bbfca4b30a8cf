#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "job/job.h"

namespace moebius::job {

/// What the job is read for; each needs other settings to be there.
enum class Purpose : std::uint8_t { train, check, plan, render };

/// The rules between settings: what is missing, what contradicts, what would have no effect, what is not
/// built. A rule that looks at a key in `unreadable` says nothing. Rules that need the model's sizes or the
/// number of ranks are judged later, by those who know them.
[[nodiscard]] std::vector<Problem> validate(const Job& job, Purpose purpose,
                                            const std::set<std::string>& unreadable = {});

}  // namespace moebius::job

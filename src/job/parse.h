#pragma once
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "job/job.h"

namespace moebius::job {

/// What was read and everything that was wrong. A key that could not be read keeps its default in `job` and
/// stands in `unreadable`, so that no rule is judged by a value that the user did not write.
struct Parsed {
  Job job;
  std::vector<Problem> problems;  // in the order of the file, then those of --set
  std::set<std::string> unreadable;
};

/// Reads a job file's text. `file` is its name as messages shall give it.
///
/// Each of `overrides` is "key.path=value". The value is TOML; text that is not, and any text for a key that
/// takes strings, is taken as a string. It replaces what the file says, and of two overrides of a key the
/// last counts. To override iterations drops the epochs of the file, and the other way round.
[[nodiscard]] Parsed parse_job(std::string_view text, const std::string& file,
                               std::span<const std::string> overrides = {});

}  // namespace moebius::job

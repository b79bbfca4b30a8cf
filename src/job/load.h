#pragma once
#include <span>
#include <string>
#include <string_view>

#include "job/job.h"
#include "job/validate.h"

namespace moebius::job {

/// A job file as the user named and changed it.
struct JobText {
  std::string_view text;                   // what is in the file
  std::string file;                        // its name
  std::span<const std::string> overrides;  // of --set
};

/// Parses and validates. Throws UsageError with the list of all problems (problems_text) where there is one.
/// It does no input or output: ranks that have the same text throw the same.
[[nodiscard]] Job load_job(const JobText& source, Purpose purpose);

}  // namespace moebius::job

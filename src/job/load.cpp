#include "job/load.h"

#include <utility>

#include "job/parse.h"
#include "job/report.h"

namespace moebius::job {

Job load_job(const JobText& source, Purpose purpose) {
  Parsed parsed = parse_job(source.text, source.file, source.overrides);
  std::vector<Problem>& problems = parsed.problems;
  for (Problem& problem : validate(parsed.job, purpose, parsed.unreadable))
    problems.push_back(std::move(problem));
  throw_if_any(std::move(problems));
  return std::move(parsed.job);
}

}  // namespace moebius::job

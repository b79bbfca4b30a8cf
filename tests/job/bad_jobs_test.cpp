#include <fmt/format.h>

#include "base/error.h"
#include "job/load.h"
#include "tests/support/bad_job.h"
#include "tests/support/catch.h"

namespace moebius::job {
namespace {

std::vector<std::string> complaints_about(const test::BadJob& bad) {
  try {
    (void)load_job({.text = bad.text, .file = "FILE", .overrides = bad.overrides}, Purpose::train);
  } catch (const UsageError& error) {
    return test::complaints_of(error.what(), "FILE");
  }
  return {};
}

TEST_CASE("each bad job file is refused with its exact messages", "[job]") {
  const std::vector<test::BadJob> jobs = test::bad_jobs();
  REQUIRE(jobs.size() >= 25);
  for (const test::BadJob& bad : jobs) {
    INFO(bad.name);
    const std::size_t problems = bad.expected.size();
    CHECK(problems > 0);
    std::vector<std::string> expected = bad.expected, said = complaints_about(bad);
    expected.push_back(fmt::format("{} problem{}, nothing was started", problems, problems == 1 ? "" : "s"));
    for (std::size_t i = 0; i < std::min(said.size(), expected.size()); ++i)
      test::cut_like(expected[i], said[i]);
    CHECK(said == expected);
  }
}

}  // namespace
}  // namespace moebius::job

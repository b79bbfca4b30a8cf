// Every file of tests/golden/jobs/bad starts with what must be said about it:
//   # set: key=value             one --set
//   # expect: 14:9  the text     one problem, in order; its place in the file, "file" or "--set key";
//                                "..." at the end stands for words of the TOML library
// and the program must say this and nothing else.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "job/load.h"
#include "tests/job/repository.h"
#include "tests/support/catch.h"

namespace moebius::job {
namespace {

struct BadJob {
  std::string name, text;
  std::vector<std::string> overrides;
  std::vector<std::string> expected;  // one line a problem
};

BadJob read_bad_job(const std::filesystem::path& path) {
  BadJob bad{.name = path.filename().string(), .text = test::text_of(path)};
  std::istringstream lines(bad.text);
  const std::string set = "# set: ", expect = "# expect: ";
  for (std::string line; std::getline(lines, line) && line.starts_with("# ");) {
    if (line.starts_with(set)) bad.overrides.push_back(line.substr(set.size()));
    if (line.starts_with(expect)) bad.expected.push_back(line.substr(expect.size()));
  }
  return bad;
}

/// What is said, one line a problem and the last one, with places as the expectations write them.
std::vector<std::string> complaints_about(const BadJob& bad) {
  std::vector<std::string> said;
  try {
    (void)load_job({.text = bad.text, .file = "FILE", .overrides = bad.overrides}, Purpose::train);
  } catch (const UsageError& error) {
    std::istringstream lines(error.what());
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("FILE:")) line = line.substr(5);
      if (line.starts_with("FILE ")) line = "file" + line.substr(4);
      said.push_back(line);
    }
  }
  return said;
}

/// Cuts what is said where the expectation ends in "...".
void cut_like(const std::string& expected, std::string& said) {
  if (!expected.ends_with("...")) return;
  const std::size_t length = expected.size() - 3;
  if (said.size() > length) said = said.substr(0, length) + "...";
}

TEST_CASE("each bad job file is refused with its exact messages", "[job]") {
  const std::filesystem::path folder = test::repository() / "tests/golden/jobs/bad";
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  REQUIRE(paths.size() >= 25);
  for (const auto& path : paths) {
    const BadJob bad = read_bad_job(path);
    INFO(bad.name);
    const std::size_t problems = bad.expected.size();
    CHECK(problems > 0);
    std::vector<std::string> expected = bad.expected, said = complaints_about(bad);
    expected.push_back(fmt::format("{} problem{}, nothing was started", problems, problems == 1 ? "" : "s"));
    for (std::size_t i = 0; i < std::min(said.size(), expected.size()); ++i) cut_like(expected[i], said[i]);
    CHECK(said == expected);
  }
}

}  // namespace
}  // namespace moebius::job

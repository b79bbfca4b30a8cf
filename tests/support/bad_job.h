#pragma once
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/repository.h"

// Every file of tests/golden/jobs/bad starts with what must be said about it:
//   # set: key=value             one --set
//   # expect: 14:9  the text     one problem, in order; its place in the file, "file" or "--set key";
//                                "..." at the end stands for words of the TOML library
// and the program must say this and nothing else.
namespace moebius::test {

struct BadJob {
  std::string name, text;
  std::vector<std::string> overrides;
  std::vector<std::string> expected;  // one line a problem
};

inline BadJob read_bad_job(const std::filesystem::path& path) {
  BadJob bad{.name = path.filename().string(), .text = slurp(path)};
  std::istringstream lines(bad.text);
  const std::string set = "# set: ", expect = "# expect: ";
  for (std::string line; std::getline(lines, line) && line.starts_with("# ");) {
    if (line.starts_with(set)) bad.overrides.push_back(line.substr(set.size()));
    if (line.starts_with(expect)) bad.expected.push_back(line.substr(expect.size()));
  }
  return bad;
}

/// All of them, in the order of their names.
inline std::vector<BadJob> bad_jobs() {
  std::vector<BadJob> jobs;
  for (const auto& entry : std::filesystem::directory_iterator(repository() / "tests/golden/jobs/bad"))
    jobs.push_back(read_bad_job(entry.path()));
  std::ranges::sort(jobs, {}, &BadJob::name);
  return jobs;
}

/// What is said, one line a problem and the last one, with the places of file `file` as the expectations
/// write them.
inline std::vector<std::string> complaints_of(const std::string& said, const std::string& file) {
  std::vector<std::string> complaints;
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(file + ":")) line = line.substr(file.size() + 1);
    if (line.starts_with(file + " ")) line = "file" + line.substr(file.size());
    complaints.push_back(line);
  }
  return complaints;
}

/// Cuts what is said where the expectation ends in "...".
inline void cut_like(const std::string& expected, std::string& said) {
  if (!expected.ends_with("...")) return;
  const std::size_t length = expected.size() - 3;
  if (said.size() > length) said = said.substr(0, length) + "...";
}

}  // namespace moebius::test

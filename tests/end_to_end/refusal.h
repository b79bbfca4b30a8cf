#pragma once
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>

#include "tests/support/bad_job.h"
#include "tests/support/catch.h"
#include "tests/support/program.h"

/// What the program says when it refuses, on one rank and on two.
namespace moebius::test {

/// Without what Open MPI's launcher adds about processes that returned an error.
inline std::string without_launcher(std::string text) {
  const std::string line(70, '-');
  for (std::size_t begin = text.find(line); begin != std::string::npos; begin = text.find(line)) {
    const std::size_t middle = text.find('\n', begin), end = text.find(line, middle);
    if (end == std::string::npos) return text.substr(0, begin);
    text.erase(begin, text.find('\n', end) - begin + 1);
  }
  return text;
}

/// The one error that was told; where it is not exactly one, everything that was said.
inline std::string error_of(const Outcome& outcome) {
  const std::string said = without_launcher(outcome.err), word = "error: ", line = "\nerror: ";
  std::size_t begin = said.starts_with(word) ? 0 : said.find(line);
  if (begin == std::string::npos || !said.ends_with('\n')) return said;
  if (begin > 0) ++begin;
  const std::string text = said.substr(begin + word.size());
  return text.find(word) == std::string::npos ? text.substr(0, text.size() - 1) : said;
}

/// Every file below a folder with its bytes, but for locks, caches and what a Program writes down.
inline std::map<std::string, std::string> files_below(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder);
    const bool is_state = name == "stdout" || name == "stderr" || name.ends_with("moebius.lock") ||
                          name.find("/cache/") != std::string::npos;
    if (entry.is_regular_file() && !is_state) files[name] = slurp(entry.path());
  }
  return files;
}

/// The files of `before` that are gone or changed, and those that are new.
inline std::vector<std::string> differences(const std::map<std::string, std::string>& before,
                                            const std::map<std::string, std::string>& after) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : before) {
    const auto found = after.find(name);
    if (found == after.end()) names.push_back("lost: " + name);
    if (found != after.end() && found->second != bytes) names.push_back("changed: " + name);
  }
  for (const auto& [name, bytes] : after) {
    if (!before.contains(name)) names.push_back("new: " + name);
  }
  return names;
}

/// A command that must be refused.
struct Refusal {
  std::vector<std::string> command;
  int exit_code;
  std::string message;  // "..." at the end stands for words of a library
};

/// Runs the command in `folder`: the exit code is right, the message is told once and word for word, and no
/// file of the folder is lost, changed or new.
inline void check_refused(const TemporaryFolder& folder, int ranks, const Refusal& refusal) {
  INFO(fmt::format("{} on {} ranks", fmt::join(refusal.command, " "), ranks));
  const auto before = files_below(folder.path());
  const Outcome outcome = Program(folder).run(ranks, refusal.command);
  std::string said = error_of(outcome);
  cut_like(refusal.message, said);
  CHECK(said == refusal.message);
  CHECK(outcome.exit_code == refusal.exit_code);
  CHECK(outcome.out.empty());
  CHECK(differences(before, files_below(folder.path())) == std::vector<std::string>{});
}

}  // namespace moebius::test

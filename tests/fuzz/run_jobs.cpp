#include "tests/fuzz/run_jobs.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <sys/wait.h>

#include "tests/fuzz/compare.h"
#include "tests/support/files.h"
#include "tests/support/program.h"

namespace moebius::fuzz {
namespace {

using std::filesystem::exists;

constexpr std::size_t kJobsOfGroup = 12;
constexpr std::size_t kLongestTail = 2000;
/// A job takes a second or two; a hang in a collective is found by the watchdog after the job's
/// cluster.timeout, any other hang by this.
constexpr int kSecondsOfGroup = 120, kSecondsOfJob = 60;

/// The end of a file, where errors stand.
std::string tail(const std::filesystem::path& path) {
  const std::string text = test::slurp(path);
  return text.size() <= kLongestTail ? text : "..." + text.substr(text.size() - kLongestTail);
}

}  // namespace

void JobRunner::share_reference(const FuzzJob& from, const FuzzJob& to) const {
  const JobFolder made = folder_of(from), folder = folder_of(to);
  std::filesystem::create_directories(folder.path);
  std::filesystem::create_directory_symlink(made.output(kAlone), folder.output(kAlone));
  std::filesystem::copy_file(made.done(kAlone), folder.done(kAlone));
}

void JobRunner::run(std::span<const FuzzJob> jobs, const Report& report) const {
  std::map<std::int64_t, Group> groups;  // by ranks
  for (const FuzzJob& job : jobs) {
    write(job, folder_of(job));
    Group& group = groups[job.ranks];
    group.push_back(&job);
    if (group.size() == kJobsOfGroup) run_group(std::exchange(group, {}), report);
  }
  for (const auto& [ranks, group] : groups) {
    if (!group.empty()) run_group(group, report);
  }
}

int JobRunner::start(const Group& group) const {
  std::string line = fmt::format(
      "timeout --kill-after=10 {} {} {} {} --train", kSecondsOfGroup + kSecondsOfJob * int(group.size()),
      test::quoted(MPI_TEST_RUN), group.front()->ranks, test::quoted(program_.string()));
  for (const FuzzJob* job : group) line += " " + test::quoted(folder_of(*job).path.string());
  line += fmt::format(" >{0} 2>&1 </dev/null", test::quoted((folder_ / "group.log").string()));
  const int status = std::system(line.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// The jobs that were under way when the group ended.
JobRunner::Group JobRunner::culprits(const Group& group) const {
  for (const std::string& run : {kMesh, kAlone}) {
    Group found;
    for (const FuzzJob* job : group) {
      if (exists(folder_of(*job).begun(run)) && !exists(folder_of(*job).done(run))) found.push_back(job);
    }
    if (!found.empty()) return found;
  }
  return group;
}

void JobRunner::run_group(Group group, const Report& report) const {
  while (!group.empty()) {
    const int code = start(group);
    Group left;
    for (const FuzzJob* job : group) {
      if (const auto verdict = verdict_of(*job)) {
        report(*job, *verdict);
      } else {
        left.push_back(job);
      }
    }
    if (left.empty()) return;
    const Group suspects = culprits(left);
    for (const FuzzJob* job : suspects) {
      std::erase(left, job);
      // Of several, as each rank trains its share alone, each goes again by itself.
      if (suspects.size() > 1) {
        run_group({job}, report);
        continue;
      }
      const JobFolder folder = folder_of(*job);
      const std::string log = tail(exists(folder.log(kMesh)) ? folder.log(kMesh) : folder.log(kAlone));
      const bool hung = code == test::Program::kHung || log.find("has not ended after") != std::string::npos;
      report(*job,
             {.kind = hung ? Verdict::Kind::hung : Verdict::Kind::failed,
              .differences = {},
              .text = fmt::format("ended with code {}\n{}\n{}", code, log, tail(folder_ / "group.log"))});
    }
    group = left;
  }
}

std::optional<Verdict> JobRunner::verdict_of(const FuzzJob& job) const {
  const JobFolder folder = folder_of(job);
  for (const std::string& run : {kAlone, kMesh}) {
    if (exists(folder.error(run)))
      return Verdict{Verdict::Kind::failed, {}, run + ": " + test::slurp(folder.error(run))};
  }
  if (!exists(folder.result())) return std::nullopt;
  const auto found = nlohmann::json::parse(test::slurp(folder.result()));
  const std::string beyond = beyond_limits(found);
  return Verdict{beyond.empty() ? Verdict::Kind::same : Verdict::Kind::different, found, beyond};
}

}  // namespace moebius::fuzz

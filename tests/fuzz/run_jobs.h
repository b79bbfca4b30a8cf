#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "tests/fuzz/fuzz_job.h"

namespace moebius::fuzz {

/// How a job ended.
struct Verdict {
  enum class Kind : std::uint8_t { same, different, failed, hung } kind = Kind::same;
  nlohmann::json differences;  // of jobs that ran to their end
  std::string text;            // what is wrong
};

/// Runs jobs in their folders under mpirun, as many at a time in one process group as have as many ranks: a
/// start of mpirun takes longer than a tiny job. Ranks that end or hang take the rest of their group with
/// them, which then starts again without the culprit.
class JobRunner {
 public:
  using Report = std::function<void(const FuzzJob& job, const Verdict& verdict)>;

  /// `program` is this program, which trains the folders after --train.
  JobRunner(std::filesystem::path program, std::filesystem::path folder)
      : program_(std::move(program)), folder_(std::move(folder)) {}

  [[nodiscard]] JobFolder folder_of(const FuzzJob& job) const { return {folder_ / job.name}; }
  /// The run of one rank that `from` has made is that of `to`, too.
  void share_reference(const FuzzJob& from, const FuzzJob& to) const;
  /// Trains all jobs, and reports each when its group has ended.
  void run(std::span<const FuzzJob> jobs, const Report& report) const;

 private:
  using Group = std::vector<const FuzzJob*>;
  [[nodiscard]] int start(const Group& group) const;
  [[nodiscard]] Group culprits(const Group& group) const;
  void run_group(Group group, const Report& report) const;
  /// Nothing of a job that did not come to its end.
  [[nodiscard]] std::optional<Verdict> verdict_of(const FuzzJob& job) const;

  std::filesystem::path program_, folder_;
};

}  // namespace moebius::fuzz

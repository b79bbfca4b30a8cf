#pragma once
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "job/job.h"

namespace moebius::job {

/// Collects what the rules find, those of this module and those of others that know the model's sizes or the
/// ranks:
///   Report report(job);
///   report.refuse_if(experts % expert != 0, {"parallel.expert"}, setting_text(job, "parallel.expert") + "
///   ..."); throw_if_any(report.take());
/// A rule names the keys it looks at; the first of them that was given is
/// blamed.
class Report {
 public:
  explicit Report(const Job& job, std::set<std::string> unreadable = {})
      : job_(job), unreadable_(std::move(unreadable)) {}

  [[nodiscard]] const Job& job() const { return job_; }

  /// Adds `text` where `is_wrong`, unless one of the keys could not be read.
  void refuse_if(bool is_wrong, std::initializer_list<std::string> keys, const std::string& text);

  [[nodiscard]] std::vector<Problem> take() { return std::move(problems_); }

 private:
  const Job& job_;
  std::set<std::string> unreadable_;
  std::vector<Problem> problems_;
};

/// Throws UsageError with all of them (problems_text), sorted by place, where there is one.
void throw_if_any(std::vector<Problem> problems);

}  // namespace moebius::job

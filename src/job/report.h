#pragma once
#include <algorithm>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "job/job.h"

namespace moebius::job {

/// Collects what the rules find. A rule names the keys it looks at; the first of them that was given is
/// blamed.
class Report {
 public:
  Report(const Job& job, const std::set<std::string>& unreadable) : job_(job), unreadable_(unreadable) {}

  [[nodiscard]] const Job& job() const { return job_; }

  /// Adds `text` where `is_wrong`, unless one of the keys could not be read.
  void refuse_if(bool is_wrong, std::initializer_list<std::string> keys, const std::string& text) {
    if (!is_wrong) return;
    for (const std::string& key : keys) {
      if (unreadable_.contains(key)) return;
    }
    const auto is_given = [this](const std::string& key) { return job_.places.contains(key); };
    const auto* const blamed = std::find_if(keys.begin(), keys.end(), is_given);
    problems_.push_back({blamed == keys.end() ? job_.file : job_.place_of(*blamed), text});
  }

  [[nodiscard]] std::vector<Problem> take() { return std::move(problems_); }

 private:
  const Job& job_;
  const std::set<std::string>& unreadable_;
  std::vector<Problem> problems_;
};

}  // namespace moebius::job

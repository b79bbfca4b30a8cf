#include "job/report.h"

#include <algorithm>

#include "base/error.h"

namespace moebius::job {

void Report::refuse_if(bool is_wrong, std::initializer_list<std::string> keys, const std::string& text) {
  if (!is_wrong) return;
  const auto is_unreadable = [this](const std::string& key) { return unreadable_.contains(key); };
  if (std::ranges::any_of(keys, is_unreadable)) return;
  const auto is_given = [this](const std::string& key) { return job_.places.contains(key); };
  const auto* const blamed = std::ranges::find_if(keys, is_given);
  problems_.push_back({blamed == keys.end() ? job_.file : job_.place_of(*blamed), text});
}

void throw_if_any(std::vector<Problem> problems) {
  if (problems.empty()) return;
  sort_by_place(problems);
  throw UsageError(problems_text(problems));
}

}  // namespace moebius::job

#pragma once
#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace moebius {

/// Lines for people, on stderr (stdout belongs to results). A Log knows whether its rank speaks: `info` and
/// `warning` of a silent rank print nothing; `any_rank` prints on every rank, with the rank in front.
class Log {
 public:
  explicit Log(int rank) : rank_(rank) {}

  [[nodiscard]] bool speaks() const { return rank_ == 0; }
  [[nodiscard]] int rank() const { return rank_; }

  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    if (speaks()) print(fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) const {
    if (speaks()) print("warning: " + fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void any_rank(fmt::format_string<Args...> format, Args&&... args) const {
    print(fmt::format("rank {}: ", rank_) + fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  static void print(std::string line) {
    line += '\n';  // one write a line, so that lines of several ranks do not mix
    std::fwrite(line.data(), 1, line.size(), stderr);
    std::fflush(stderr);
  }
  int rank_;
};

}  // namespace moebius

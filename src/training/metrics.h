#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moebius::training {

/// What one iteration measured, as name and number, in the order of writing.
struct Metrics {
  std::int64_t iteration = 0;  // from 1
  std::vector<std::pair<std::string, double>> values;

  void add(const std::string& name, double value) { values.emplace_back(name, value); }
  [[nodiscard]] std::optional<double> find(const std::string& name) const;
  /// One line of JSON, every number with all its digits; what is not finite is null.
  [[nodiscard]] std::string json() const;
};

/// metrics.jsonl: one row an iteration, each iteration once, however often the run was stopped and resumed.
class MetricsFile {
 public:
  /// Keeps the rows up to `last_iteration` (what the resumed checkpoint knows) and drops later and torn ones.
  MetricsFile(const std::filesystem::path& path, std::int64_t last_iteration);
  void append(const Metrics& metrics);

 private:
  std::filesystem::path path_;
  std::ofstream stream_;
};

}  // namespace moebius::training

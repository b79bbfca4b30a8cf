#pragma once
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace moebius::test {

using Json = nlohmann::json;

inline std::vector<Json> rows_of(const std::string& text) {
  std::vector<Json> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) rows.push_back(Json::parse(line));
  }
  return rows;
}

inline std::vector<double> column(const std::vector<Json>& rows, const std::string& name) {
  std::vector<double> values;
  for (const Json& row : rows) values.push_back(row.at(name).get<double>());
  return values;
}

/// The largest |a - b| / |b|.
inline double worst_relative(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : 1e30;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(a[i] - b[i]) / std::abs(b[i]));
  }
  return worst;
}

}  // namespace moebius::test

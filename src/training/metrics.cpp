#include "training/metrics.h"

#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace moebius::training {
namespace {

constexpr std::string_view kStart = "{\"iteration\":";

/// The iteration of a row that this file wrote, or nothing for a torn line.
std::optional<std::int64_t> iteration_of(std::string_view line) {
  if (!line.starts_with(kStart) || !line.ends_with('}')) return std::nullopt;
  std::int64_t iteration = 0;
  const char* digits = line.data() + kStart.size();
  const auto parsed = std::from_chars(digits, line.data() + line.size(), iteration);
  if (parsed.ec != std::errc()) return std::nullopt;
  return iteration;
}

std::string kept_rows(const std::filesystem::path& path, std::int64_t last_iteration) {
  std::string kept, line;
  std::ifstream stream(path);
  while (std::getline(stream, line)) {
    const auto iteration = iteration_of(line);
    if (iteration && *iteration <= last_iteration) kept += line + "\n";
  }
  return kept;
}

}  // namespace

std::optional<double> Metrics::find(const std::string& name) const {
  for (const auto& [key, value] : values) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::string Metrics::json() const {
  std::string text = fmt::format("{{\"iteration\":{}", iteration);
  for (const auto& [name, value] : values) {
    text += std::isfinite(value) ? fmt::format(",\"{}\":{}", name, value) : fmt::format(",\"{}\":null", name);
  }
  return text + "}";
}

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t last_iteration) : path_(path) {
  const std::filesystem::path renewed = path.string() + ".new";
  write_file(renewed, kept_rows(path, last_iteration));
  std::filesystem::rename(renewed, path);
  stream_.open(path, std::ios::app);
}

void MetricsFile::append(const Metrics& metrics) {
  stream_ << metrics.json() << '\n' << std::flush;
  if (!stream_) throw ClusterError(path_.string() + ": cannot write; is the disk full?");
}

}  // namespace moebius::training

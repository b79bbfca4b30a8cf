#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/end_to_end/json_rows.h"
#include "tests/support/catch.h"

/// Runs and scores that PyTorch has recorded beside tiny models, in float64 (see the README there).
namespace moebius::test {

/// A recorded training, for the program.
struct RecordedJob {
  std::filesystem::path folder;  // of the model, its data and its adapters
  const Json& run;               // the record
  std::string output;
  std::int64_t interval = 10;  // of checkpoints
};

/// The job file.
inline std::string text_of(const RecordedJob& job) {
  const auto in_folder = [&](const Json& name) {
    return Json((job.folder / name.get<std::string>()).string());
  };
  std::string text =
      "[job]\noutput = \"" + job.output + "\"\n[model]\npath = \"" + job.folder.string() + "\"\n";
  text += "[log]\ntensorboard = false\n[checkpoint]\ninterval = " + std::to_string(job.interval) + "\n";
  for (const auto& [section, settings] : job.run["settings"].items()) {
    text += "[" + section + "]\n";
    if (section == "data") text += "train = [" + in_folder(job.run["data"]).dump() + "]\n";
    for (const auto& [key, value] : settings.items())
      text += key + " = " + (key == "adapter" ? in_folder(value) : value).dump() + "\n";
  }
  return text;
}

/// The largest difference between the log-probabilities that `moebius score` printed and the expected rows.
inline double worst_logprob(const std::string& scored, const std::string& expected) {
  const auto ours = rows_of(scored), theirs = rows_of(expected);
  REQUIRE(ours.size() == theirs.size());
  double worst = 0;
  for (std::size_t row = 0; row < ours.size(); ++row) {
    const Json &a = ours[row]["logprobs"], &b = theirs[row]["logprobs"];
    REQUIRE(a.size() == b.size());
    CHECK(a[0].is_null());
    for (std::size_t t = 1; t < a.size(); ++t)
      worst = std::max(worst, std::abs(a[t].get<double>() - b[t].get<double>()));
  }
  return worst;
}

}  // namespace moebius::test

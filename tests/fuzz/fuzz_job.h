#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace moebius::fuzz {

/// A model, its data and a job on a mesh, as a user would write them. It is trained twice: on the mesh, and
/// on one rank without anything that must not change the result (mesh, schedule, recompute, overlap).
struct FuzzJob {
  std::string name;  // of its folder: "seed_000017", "n8_t2_c2_d2_e4"
  std::int64_t ranks = 1;
  std::string config;  // config.json
  std::string rows;    // rows.jsonl
  /// Settings by section and key, as they stand in the file.
  std::map<std::string, std::map<std::string, std::string>> settings;
};

/// The same without what must not change the result: mesh, schedule, recompute, overlap, a cache.
[[nodiscard]] FuzzJob on_one_rank(FuzzJob job);

/// What the program says against the job on its mesh, nothing where it would train it. By the program's own
/// rules: there is no other list of what is valid.
[[nodiscard]] std::optional<std::string> refusal_of(const FuzzJob& job);

/// "8 ranks, tensor 2 x context 2 x data 2, expert 4 x expert_data 2; ...": one line for people, of a valid
/// job.
[[nodiscard]] std::string describe(const FuzzJob& job);

/// The files of a job under its folder.
struct JobFolder {
  std::filesystem::path path;

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path / name; }
  [[nodiscard]] std::filesystem::path job(const std::string& run) const { return path / (run + ".toml"); }
  /// Where the run of that name writes, what it said, and why it failed.
  [[nodiscard]] std::filesystem::path output(const std::string& run) const { return path / run; }
  [[nodiscard]] std::filesystem::path log(const std::string& run) const { return path / (run + ".log"); }
  [[nodiscard]] std::filesystem::path begun(const std::string& run) const { return path / (run + ".begun"); }
  [[nodiscard]] std::filesystem::path done(const std::string& run) const { return path / (run + ".done"); }
  [[nodiscard]] std::filesystem::path error(const std::string& run) const { return path / (run + ".error"); }
  [[nodiscard]] std::filesystem::path result() const { return path / "result.json"; }
};
inline const std::string kMesh = "mesh", kAlone = "alone";  // the two runs of a job

/// Writes config.json, rows.jsonl, mesh.toml and alone.toml: `moebius train mesh.toml` under mpirun is what
/// the fuzzer runs.
void write(const FuzzJob& job, const JobFolder& folder);

/// The settings that every job here has.
[[nodiscard]] FuzzJob plain_job();

/// A row of pre-tokenised data; label -100 is not trained.
struct Row {
  std::vector<std::int64_t> ids, labels;
  std::vector<double> scale;
};
[[nodiscard]] std::string text_of(const Row& row);

}  // namespace moebius::fuzz

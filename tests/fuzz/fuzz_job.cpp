#include "tests/fuzz/fuzz_job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "cluster/mesh.h"
#include "job/load.h"
#include "job/names.h"
#include "models/models.h"
#include "plan/rules.h"
#include "tests/support/files.h"

namespace moebius::fuzz {
namespace {

std::string quoted(const std::filesystem::path& path) {
  return fmt::format("\"{}\"", path.string());
}

/// The job file of a run. Without a folder, names of files stand for themselves.
std::string toml_of(const FuzzJob& job, const std::string& run, const std::filesystem::path& folder) {
  auto settings = (run == kAlone ? on_one_rank(job) : job).settings;
  settings["job"]["output"] = quoted(folder / run);
  settings["model"]["config"] = quoted(folder / "config.json");
  settings["data"]["train"] = fmt::format("[{}]", quoted(folder / "rows.jsonl"));
  std::string text;
  for (const auto& [section, keys] : settings) {
    text += fmt::format("[{}]\n", section);
    for (const auto& [key, value] : keys) text += fmt::format("{} = {}\n", key, value);
  }
  return text;
}

job::Job parsed(const FuzzJob& job) {
  return job::load_job({.text = toml_of(job, kMesh, {}), .file = "mesh.toml", .overrides = {}},
                       job::Purpose::train);
}

}  // namespace

FuzzJob on_one_rank(FuzzJob job) {
  job.ranks = 1;
  job.settings.erase("parallel");
  job.settings["moe"].erase("overlap");
  job.settings["train"].erase("recompute");
  job.settings["train"].erase("recompute_layers");
  if (job.settings.contains("objective")) job.settings["objective"].erase("reference_cache");
  return job;
}

std::optional<std::string> refusal_of(const FuzzJob& job) {
  try {
    const models::ModelConfig config = models::read_config(job.config, "config.json");
    const job::Job on_mesh = parsed(job);
    plan::check_against_model(on_mesh, config);
    (void)plan::mesh_of(on_mesh, job.ranks, 0);
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

std::string describe(const FuzzJob& job) {
  const models::ModelConfig config = models::read_config(job.config, "config.json");
  const job::Job on_mesh = parsed(job);
  const std::string mesh = plan::mesh_of(on_mesh, job.ranks, 0).text();
  std::string text =
      fmt::format("{} rank{}{}", job.ranks, job.ranks == 1 ? "" : "s", mesh.empty() ? "" : ", " + mesh);
  if (on_mesh.parallel.pipeline > 1) {
    text += fmt::format(", {} with {} chunks", job::to_word(on_mesh.parallel.schedule),
                        on_mesh.parallel.virtual_pipeline);
  }
  text += fmt::format("; {} of {} layers", config.family, config.layers);
  if (config.experts > 0) text += fmt::format(", {} of {} experts", config.top_k, config.experts);
  text += fmt::format("; {} x {} of {} {}", on_mesh.train.micro_batch_size,
                      on_mesh.train.global_batch_size / on_mesh.train.micro_batch_size,
                      on_mesh.data.max_length, on_mesh.data.packing ? "packed" : "single");
  if (on_mesh.objective.kind == job::ObjectiveKind::dpo) {
    text += fmt::format(", dpo {}{}", job::to_word(on_mesh.objective.loss),
                        on_mesh.objective.reference_cache ? " cached" : "");
  }
  if (on_mesh.lora)
    text += fmt::format(", lora {} of {}", on_mesh.lora->rank, fmt::join(on_mesh.lora->targets, " "));
  if (on_mesh.train.recompute != job::Recompute::none)
    text += fmt::format(", recompute {}", job::to_word(on_mesh.train.recompute));
  if (on_mesh.moe.overlap != job::Overlap::none)
    text += fmt::format(", overlap {}", job::to_word(on_mesh.moe.overlap));
  return text;
}

void write(const FuzzJob& job, const JobFolder& folder) {
  std::filesystem::create_directories(folder.path);
  test::spill(folder / "config.json", job.config);
  test::spill(folder / "rows.jsonl", job.rows);
  for (const std::string& run : {kMesh, kAlone}) test::spill(folder.job(run), toml_of(job, run, folder.path));
}

FuzzJob plain_job() {
  FuzzJob job;
  // Adam divides by the root of the squares: an element whose gradient is nothing but rounding would move as
  // far as any other. An epsilon well above that rounding and well below the gradients leaves it where it is.
  job.settings = {
      {"job", {{"time_limit", "\"none\""}}},
      {"model", {{"init", "\"random\""}, {"device", "\"cpu\""}}},
      {"optimizer", {{"lr", "1e-3"}, {"schedule", "\"constant\""}, {"epsilon", "1e-6"}}},
      {"log", {{"tensorboard", "false"}}},
      {"cluster", {{"timeout", "\"1m\""}}},
  };
  return job;
}

std::string text_of(const Row& row) {
  return fmt::format("{{\"input_ids\":[{}],\"labels\":[{}],\"loss_scale\":[{}]}}\n", fmt::join(row.ids, ","),
                     fmt::join(row.labels, ","), fmt::join(row.scale, ","));
}

}  // namespace moebius::fuzz

#include "job/validate.h"

#include <algorithm>
#include <fmt/format.h>

#include "job/built.h"
#include "job/report.h"
#include "job/write.h"

namespace moebius::job {
namespace {

/// A setting that changes nothing while another one is as it is. Away from its default it is refused: whoever
/// wrote it expects an effect.
struct Idle {
  std::string key, because;
  bool is_idle;
};

std::vector<Idle> idle_settings(const Job& job) {
  const bool is_plain = job.objective.kind == ObjectiveKind::pretrain;
  std::vector<Idle> list = {
      {"model.config", "model.path", !job.model.path.empty()},
      {"model.tokenizer", "model.path", !job.model.path.empty()},
      {"data.validation_fraction", "data.validation", !job.data.validation.empty()},
      {"data.validation", "eval.interval", job.eval.interval == 0},
      {"data.validation_fraction", "eval.interval", job.eval.interval == 0},
      {"data.system", "objective.kind", is_plain},
      {"data.agent_template", "objective.kind", is_plain},
      {"data.enable_thinking", "objective.kind", is_plain},
      {"data.preserve_thinking", "objective.kind", is_plain},
      {"data.response_prefix", "objective.kind", is_plain},
      {"train.recompute_layers", "train.recompute", job.train.recompute != Recompute::full},
      {"optimizer.min_lr", "optimizer.schedule", job.optimizer.schedule == Schedule::constant},
      {"parallel.sequence", "parallel.tensor", job.parallel.tensor == 1},
      {"parallel.virtual_pipeline", "parallel.pipeline", job.parallel.pipeline == 1},
      {"moe.overlap", "parallel.expert", job.parallel.expert == 1},
      {"parallel.schedule", "parallel.pipeline", job.parallel.pipeline == 1},
      {"objective.label_smoothing", "objective.loss", job.objective.loss != PreferenceLoss::sigmoid},
      {"checkpoint.keep", "checkpoint.interval", !job.checkpoint.saves()},
      {"checkpoint.optimizer", "checkpoint.interval", !job.checkpoint.saves()},
  };
  // Weights in fp32 are their own master; what is kept in bf16 beside them follows the precision.
  const bool on_cpu = job.model.device == Device::cpu;
  for (const char* key : {"optimizer.master", "optimizer.moments", "optimizer.gradients"}) {
    list.push_back(
        {key, on_cpu ? "model.device" : "model.precision", on_cpu || job.model.precision == Precision::fp32});
  }
  const std::string kind = "objective.kind";
  for (const Key& key : schema()) {
    if (key.section() != "objective" || key.path == kind) continue;
    list.push_back({std::string(key.path), kind, job.objective.kind != ObjectiveKind::dpo});
  }
  return list;
}

void refuse_idle_settings(Report& report) {
  const Job& job = report.job();
  for (const Idle& idle : idle_settings(job)) {
    const Key& key = *find_key(idle.key);
    const bool is_default = key.get(job) == default_value(key);
    report.refuse_if(idle.is_idle && !is_default, {idle.key, idle.because},
                     fmt::format("{} has no effect with {} (leave it out)", setting_text(job, idle.key),
                                 setting_text(job, idle.because)));
  }
}

void check_model(Report& report, Purpose purpose) {
  const Model& model = report.job().model;
  const bool is_random = model.init == Init::random;
  const bool renders_with_tokenizer = purpose == Purpose::render && !model.tokenizer.empty();
  report.refuse_if(model.path.empty() && model.config.empty() && !is_random && !renders_with_tokenizer,
                   {"model.path", "model.config", "model.init", "model.tokenizer"},
                   "model.path is not set (a Hugging Face folder or a checkpoint; or model.config with "
                   "model.init = \"random\")");
  report.refuse_if(model.path.empty() && !model.config.empty() && !is_random,
                   {"model.config", "model.init", "model.path"},
                   fmt::format("{} brings no weights (add model.init = \"random\", or set model.path)",
                               setting_text(report.job(), "model.config")));
  report.refuse_if(!model.path.empty() && is_random, {"model.init", "model.path"},
                   fmt::format("model.init = \"random\" and {} are both given (leave one out; random weights "
                               "need model.config)",
                               setting_text(report.job(), "model.path")));
  report.refuse_if(model.path.empty() && model.config.empty() && is_random,
                   {"model.init", "model.config", "model.path"},
                   "model.init = \"random\" needs model.config (a config.json)");
  report.refuse_if(
      model.precision == Precision::bf16 && model.device == Device::cpu, {"model.precision", "model.device"},
      fmt::format("{} with {}: CPUs compute in fp32 (leave one out)",
                  setting_text(report.job(), "model.precision"), setting_text(report.job(), "model.device")));
}

void check_data(Report& report, Purpose purpose) {
  const Data& data = report.job().data;
  report.refuse_if(data.train.empty() && purpose != Purpose::plan, {"data.train"},
                   "data.train is empty (name a file, or \"synthetic#N\" for N random rows)");
  const auto is_empty = [](const std::string& file) { return file.empty(); };
  report.refuse_if(std::ranges::any_of(data.train, is_empty), {"data.train"},
                   "data.train holds an empty name (remove it)");
  report.refuse_if(std::ranges::any_of(data.validation, is_empty), {"data.validation"},
                   "data.validation holds an empty name (remove it)");
  const bool is_plain = report.job().objective.kind == ObjectiveKind::pretrain;
  report.refuse_if(data.truncation == Truncation::split && !is_plain, {"data.truncation", "objective.kind"},
                   fmt::format("{} cuts plain text into several samples, which {} does not train (use "
                               "\"delete\", \"left\" or \"right\", or objective.kind = \"pretrain\")",
                               setting_text(report.job(), "data.truncation"),
                               setting_text(report.job(), "objective.kind")));
  const bool has_validation = !data.validation.empty() || data.validation_fraction > 0;
  report.refuse_if(report.job().eval.interval > 0 && !has_validation,
                   {"eval.interval", "data.validation", "data.validation_fraction"},
                   fmt::format("{} has nothing to evaluate (set data.validation or data.validation_fraction)",
                               setting_text(report.job(), "eval.interval")));
}

/// "8 or 12": the multiples of `unit` around `value`, which is none.
std::string neighbours(std::int64_t value, std::int64_t unit) {
  const std::int64_t below = value / unit * unit;
  return below == 0 ? fmt::format("{}", unit) : fmt::format("{} or {}", below, below + unit);
}

void check_pipeline(Report& report) {
  const Job& job = report.job();
  if (job.parallel.pipeline == 1) return;
  const PipelineSchedule schedule = job.parallel.schedule;
  const bool in_turns = schedule == PipelineSchedule::interleaved;
  const bool takes_chunks = in_turns || schedule == PipelineSchedule::automatic;
  const std::string name = setting_text(job, "parallel.schedule");
  const std::string chunks = setting_text(job, "parallel.virtual_pipeline");
  report.refuse_if(
      job.parallel.virtual_pipeline > 1 && !takes_chunks, {"parallel.schedule", "parallel.virtual_pipeline"},
      fmt::format("{} is for one chunk of layers a stage, not for {} (use \"interleaved\", or leave "
                  "virtual_pipeline out)",
                  name, chunks));
  report.refuse_if(job.parallel.virtual_pipeline == 1 && in_turns,
                   {"parallel.schedule", "parallel.virtual_pipeline"},
                   fmt::format("{} is for several chunks of layers a stage, not for {} (use \"1f1b\", or a "
                               "larger virtual_pipeline)",
                               name, chunks));
  report.refuse_if(schedule == PipelineSchedule::zero_bubble && job.train.recompute != Recompute::none,
                   {"parallel.schedule", "train.recompute"},
                   fmt::format("{} computes gradients of weights later, from what {} drops (use recompute = "
                               "\"none\", or another schedule)",
                               name, setting_text(job, "train.recompute")));
}

void check_training(Report& report) {
  const Job& job = report.job();
  const std::int64_t micro = job.train.micro_batch_size, global = job.train.global_batch_size;
  report.refuse_if(
      global % micro != 0, {"train.global_batch_size", "train.micro_batch_size"},
      fmt::format("{} is not a multiple of {} (use {})", setting_text(job, "train.global_batch_size"),
                  setting_text(job, "train.micro_batch_size"), neighbours(global, micro)));
  report.refuse_if(job.optimizer.min_lr > job.optimizer.lr, {"optimizer.min_lr", "optimizer.lr"},
                   fmt::format("{} is above {} (it is where the schedule ends)",
                               setting_text(job, "optimizer.min_lr"), setting_text(job, "optimizer.lr")));
}

}  // namespace

std::vector<Problem> validate(const Job& job, Purpose purpose, const std::set<std::string>& unreadable) {
  Report report(job, unreadable);
  const bool writes = purpose == Purpose::train || purpose == Purpose::check;
  report.refuse_if(writes && job.general.output.empty(), {"job.output"},
                   "job.output is not set (the folder for everything that the run writes)");
  check_model(report, purpose);
  check_data(report, purpose);
  check_training(report);
  check_pipeline(report);
  refuse_idle_settings(report);
  refuse_what_is_not_built(report);
  return report.take();
}

}  // namespace moebius::job

#include "plan/rules.h"

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>

#include "job/report.h"
#include "job/write.h"
#include "models/models.h"

namespace moebius::plan {

using cluster::Axis;

cluster::Degrees degrees_of(const job::Parallel& parallel) {
  return {.tensor = parallel.tensor,
          .context = parallel.context,
          .pipeline = parallel.pipeline,
          .expert = parallel.expert,
          .expert_tensor = parallel.expert_tensor};
}

models::Truth truth_of(job::Master master) {
  switch (master) {
    case job::Master::fp32: return models::Truth::master;
    case job::Master::remainder16: return models::Truth::remainder;
    case job::Master::none: return models::Truth::weights;
  }
  throw std::logic_error("a master of no kind");
}

models::Recompute recompute_of(job::Recompute recompute) {
  switch (recompute) {
    case job::Recompute::none: return models::Recompute::nothing;
    case job::Recompute::selective: return models::Recompute::selective;
    case job::Recompute::full: return models::Recompute::full;
  }
  throw std::logic_error("a recompute of no kind");
}

kernels::Routing routing_of(job::Routing routing) {
  switch (routing) {
    case job::Routing::learned: return kernels::Routing::learned;
    case job::Routing::even: return kernels::Routing::even;
  }
  throw std::logic_error("a routing of no kind");
}

layers::Overlap overlap_of(job::Overlap overlap) {
  switch (overlap) {
    case job::Overlap::none: return layers::Overlap::none;
    case job::Overlap::halves: return layers::Overlap::halves;
  }
  throw std::logic_error("an overlap of no kind");
}

std::optional<models::AdapterSettings> adapter_of(const job::Job& job) {
  if (!job.lora) return std::nullopt;
  using Scaling = models::AdapterSettings::Scaling;
  return models::AdapterSettings{.rank = job.lora->rank,
                                 .alpha = job.lora->alpha,
                                 .scaling = job.lora->rslora ? Scaling::by_root_of_rank : Scaling::by_rank,
                                 .dropout = job.lora->dropout,
                                 .targets = job.lora->targets};
}

models::ParameterTable trained_table(const job::Job& job, const models::ModelConfig& config) {
  models::ParameterTable model = models::parameter_table(config);
  const auto adapter = adapter_of(job);
  return adapter ? models::adapter_table(model, *adapter) : std::move(model);
}

void check_against_model(const job::Job& job, const models::ModelConfig& config) {
  job::Report report(job);
  for (const models::MeshProblem& problem : models::check_mesh(config, degrees_of(job.parallel)))
    report.refuse_if(true, {problem.key}, problem.text);
  const std::int64_t chunks = job.parallel.pipeline * job.parallel.virtual_pipeline;
  report.refuse_if(
      job.parallel.virtual_pipeline > 1 && chunks > config.layers,
      {"parallel.virtual_pipeline", "parallel.pipeline"},
      fmt::format("{} x {} stages are {} chunks, but the model has {} layers (use at most {})",
                  job::setting_text(job, "parallel.virtual_pipeline"), job.parallel.pipeline, chunks,
                  config.layers, std::max<std::int64_t>(1, config.layers / job.parallel.pipeline)));
  const auto refuse_without_experts = [&](const char* key, bool is_set) {
    report.refuse_if(
        is_set && config.experts == 0, {key},
        fmt::format("{} has no effect: the model has no experts; remove it", job::setting_text(job, key)));
  };
  refuse_without_experts("moe.aux_loss_coeff", job.moe.aux_loss_coeff != 0);
  refuse_without_experts("moe.z_loss_coeff", job.moe.z_loss_coeff != 0);
  refuse_without_experts("moe.routing", job.moe.routing != job::Routing::learned);
  if (job.lora) {
    for (const std::string& text :
         models::target_problems(models::parameter_table(config), job.lora->targets))
      report.refuse_if(true, {"lora.targets", "lora"}, "lora.targets: " + text);
  }
  job::throw_if_any(report.take());
}

cluster::Mesh mesh_of(const job::Job& job, std::int64_t ranks, std::int64_t rank) {
  cluster::Mesh mesh(ranks, rank, degrees_of(job.parallel));
  const std::int64_t replicas = mesh.degree(Axis::data);
  const std::int64_t step = job.train.micro_batch_size * replicas;
  job::Report report(job);
  report.refuse_if(job.train.global_batch_size % step != 0,
                   {"train.global_batch_size", "train.micro_batch_size"},
                   fmt::format("{} is not a multiple of {}: micro_batch_size {} x {} data ranks",
                               job::setting_text(job, "train.global_batch_size"), step,
                               job.train.micro_batch_size, replicas));
  const std::int64_t micro_batches = job.train.global_batch_size / step,
                     pipeline = mesh.degree(Axis::pipeline);
  report.refuse_if(job.parallel.virtual_pipeline > 1 && micro_batches % pipeline != 0,
                   {"parallel.virtual_pipeline", "train.global_batch_size"},
                   fmt::format("{} takes micro batches in groups of {}, one for each stage, but a data rank "
                               "has {} a step (use a train.global_batch_size that is a multiple of {})",
                               job::setting_text(job, "parallel.virtual_pipeline"), pipeline, micro_batches,
                               step * pipeline));
  job::throw_if_any(report.take());
  return mesh;
}

models::Stages stages_of(const job::Job& job, const models::ModelConfig& config) {
  return models::stages_of(config, job.parallel.pipeline, job.parallel.virtual_pipeline);
}

bool keeps_reference(const job::Job& job) {
  const job::Objective& objective = job.objective;
  const bool is_base = job.lora && objective.reference.empty();  // the model without its adapter
  return objective.kind == job::ObjectiveKind::dpo && !objective.reference_cache && !is_base;
}

parallel::ScheduleKind schedule_kind_of(const job::Parallel& parallel) {
  switch (parallel.schedule) {
    case job::PipelineSchedule::one_f_one_b: return parallel::ScheduleKind::one_f_one_b;
    case job::PipelineSchedule::interleaved: return parallel::ScheduleKind::interleaved;
    case job::PipelineSchedule::zero_bubble: return parallel::ScheduleKind::zero_bubble;
    case job::PipelineSchedule::automatic: break;
  }
  return parallel.virtual_pipeline > 1 ? parallel::ScheduleKind::interleaved
                                       : parallel::ScheduleKind::one_f_one_b;
}

parallel::PipelineSchedule schedule_of(const job::Job& job, const cluster::Mesh& mesh) {
  return parallel::make_schedule(schedule_kind_of(job.parallel),
                                 {.stages = mesh.degree(Axis::pipeline),
                                  .chunks = job.parallel.virtual_pipeline,
                                  .micro_batches = job.train.global_batch_size /
                                                   (job.train.micro_batch_size * mesh.degree(Axis::data))});
}

parallel::StageLoad load_of(const parallel::PipelineSchedule& schedule, const cluster::Mesh& mesh) {
  parallel::StageLoad load = parallel::load_of(schedule.stages[std::size_t(mesh.index(Axis::pipeline))]);
  load.in_flight = std::max<std::int64_t>(load.in_flight, 1);
  return load;
}

void check_against_precision(const job::Job& job, Precision precision) {
  job::Report report(job);
  const auto needs_bf16 = [&](const char* key, bool is_set, const char* cure) {
    report.refuse_if(is_set && precision != Precision::bf16, {key},
                     fmt::format("{} is for weights in bf16, and this run computes in fp32: {}",
                                 job::setting_text(job, key), cure));
  };
  needs_bf16("optimizer.master", job.optimizer.master != job::Master::fp32,
             "they are their own master; use \"fp32\"");
  needs_bf16("optimizer.moments", job.optimizer.moments == job::StateType::bf16, "use \"fp32\"");
  needs_bf16("optimizer.gradients", job.optimizer.gradients == job::StateType::bf16, "use \"fp32\"");
  job::throw_if_any(report.take());
}

}  // namespace moebius::plan

#pragma once
#include "cluster/mesh.h"
#include "job/job.h"
#include "kernels/moe/router.h"
#include "layers/distributed_experts.h"
#include "models/adapter.h"
#include "models/config.h"
#include "models/decoder/recompute.h"
#include "models/stages.h"
#include "models/weight_state.h"
#include "parallel/pipeline/schedule.h"

namespace moebius::plan {

// The job's words for what others call otherwise.
[[nodiscard]] cluster::Degrees degrees_of(const job::Parallel& parallel);
[[nodiscard]] models::Truth truth_of(job::Master master);
[[nodiscard]] models::Recompute recompute_of(job::Recompute recompute);
[[nodiscard]] kernels::Routing routing_of(job::Routing routing);
[[nodiscard]] layers::Overlap overlap_of(job::Overlap overlap);
/// Nothing where the whole model learns.
[[nodiscard]] std::optional<models::AdapterSettings> adapter_of(const job::Job& job);
/// What learns: the model's weights, or its adapter's.
[[nodiscard]] models::ParameterTable trained_table(const job::Job& job, const models::ModelConfig& config);

/// The rules that need the model's sizes. Throws UsageError with every problem.
void check_against_model(const job::Job& job, const models::ModelConfig& config);

/// The mesh of the job on `ranks` ranks as `rank` sees it. Throws ClusterError where the degrees do not
/// divide the ranks, UsageError where the data ranks do not divide the batch.
[[nodiscard]] cluster::Mesh mesh_of(const job::Job& job, std::int64_t ranks, std::int64_t rank);

[[nodiscard]] parallel::ScheduleKind schedule_kind_of(const job::Parallel& parallel);

/// Which layers lie where.
[[nodiscard]] models::Stages stages_of(const job::Job& job, const models::ModelConfig& config);
/// Micro batches that this rank has memory for; one at least is in flight.
[[nodiscard]] parallel::StageLoad load_of(const parallel::PipelineSchedule& schedule,
                                          const cluster::Mesh& mesh);
/// What each stage of the pipeline does in a step.
[[nodiscard]] parallel::PipelineSchedule schedule_of(const job::Job& job, const cluster::Mesh& mesh);

/// Whether the weights of a reference lie beside those of the model in training.
[[nodiscard]] bool keeps_reference(const job::Job& job);

enum class Precision : std::uint8_t { fp32, bf16 };

/// The rules between the optimizer's settings and the precision that was chosen. Throws UsageError.
void check_against_precision(const job::Job& job, Precision precision);

}  // namespace moebius::plan

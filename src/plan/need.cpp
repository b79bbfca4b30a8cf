#include "plan/need.h"

#include <algorithm>

#include "models/models.h"
#include "models/shard_transfer.h"
#include "parallel/pipeline/run.h"

namespace moebius::plan {

std::vector<NeedPart> parts_of(const Need& need) {
  const models::ModelMemory& memory = need.memory;
  return {{"weights", memory.weights},
          {"adapter", memory.factors},
          {"reference", need.reference},
          {"gradients", memory.gradients},
          {"moments", memory.moments},
          {"master", memory.truth},
          {"activations", memory.in_flight * memory.slot()},
          {"pending", memory.pending * memory.pending_slot},
          {"messages", memory.messages},
          {"made again", memory.remade},
          {"workspace", memory.workspace},
          {"tables", memory.tables},
          {"scratch", memory.scratch},
          {"libraries", need.libraries},
          {"saving", need.saving}};
}

std::int64_t longest_pack(const job::Job& job) {
  const bool is_pair = job.objective.kind == job::ObjectiveKind::dpo && !job.data.packing;
  return job.data.max_length * (is_pair ? 2 : 1);
}

models::MemoryFormat format_of(const job::Job& job, const Machine& machine) {
  const bool in_bf16 = machine.precision == Precision::bf16;
  const auto bytes = [](job::StateType type) { return type == job::StateType::bf16 ? 2 : 4; };
  return {.space = machine.space,
          .truth = in_bf16 ? truth_of(job.optimizer.master) : models::Truth::weights,
          .recompute = recompute_of(job.train.recompute),
          .overlap = overlap_of(job.moe.overlap),
          .storage = in_bf16 ? 2 : 4,
          .gradient = in_bf16 ? bytes(job.optimizer.gradients) : 4,
          .moment = bytes(job.optimizer.moments),
          .group_layers = job.train.recompute_layers,
          .adapter = adapter_of(job)};
}

namespace {

/// A weight, the log-probability that it is made of, and the reference's.
constexpr std::int64_t kNumbersOfPairs = 3;

models::StageShape stage_shape(const cluster::Mesh& mesh, const Question& question) {
  const parallel::PipelineSchedule schedule = schedule_of(question.job, mesh);
  const parallel::StageLoad load = load_of(schedule, mesh);
  return {.stages = stages_of(question.job, question.config),
          .in_flight = load.in_flight,
          .pending = load.pending,
          .messages = parallel::message_buffers(schedule, mesh.index(cluster::Axis::pipeline)).count()};
}

/// A decoder of its own, and its weights where those are not the frozen ones of an adapter.
std::int64_t reference_bytes(const job::Job& job, const models::ModelMemory& memory) {
  if (job.objective.kind != job::ObjectiveKind::dpo || job.objective.reference_cache) return 0;
  return memory.tables + (keeps_reference(job) ? memory.weights : 0);
}

/// A checkpoint goes through one buffer of the largest piece that this rank writes.
std::int64_t saving_bytes(const cluster::Mesh& mesh, const Question& question, const models::Stages& stages) {
  if (question.machine.space == Space::device || !question.job.checkpoint.saves()) return 0;
  const models::ShardLayout layout(trained_table(question.job, question.config), mesh, stages);
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < layout.count(); ++i) largest = std::max(largest, layout.row(i).size);
  return std::min(largest * size_of(Dtype::float32), models::kFilePieceBytes) + kFileBytes;
}

}  // namespace

Need need_on(const cluster::Mesh& mesh, const Question& question, double expert_load) {
  const std::int64_t tokens = question.micro_batch_tokens();
  const bool is_dpo = question.job.objective.kind == job::ObjectiveKind::dpo;
  const models::MicroBatchShape shape{.tokens = tokens,
                                      .targets = tokens,
                                      .expert_load = expert_load,
                                      .routing = routing_of(question.job.moe.routing),
                                      .numbers_a_target = is_dpo ? kNumbersOfPairs : 1};
  models::MemoryFormat format = format_of(question.job, question.machine);
  format.stage = stage_shape(mesh, question);
  const std::int64_t longest = question.job.data.max_length;
  models::ModelMemory memory = models::training_memory(question.config, mesh, shape, longest, format);
  if (is_dpo || question.job.eval.interval > 0) {
    const auto scoring = models::scoring_memory(question.config, mesh, shape, longest, format);
    memory.activations = std::max(memory.activations, scoring.activations);
  }
  return {.memory = memory,
          .reference = reference_bytes(question.job, memory),
          .libraries = question.machine.library_bytes(),
          .saving = saving_bytes(mesh, question, format.stage.stages)};
}

std::vector<RankKind> rank_kinds(const Question& question) {
  // Heads, widths and experts divide evenly; the vocabulary over the tensor ranks need not, but all of them
  // take what the longest part needs; nor do the layers over the stages.
  const job::Parallel& parallel = question.job.parallel;
  const std::int64_t kinds_at_most = parallel.tensor * parallel.pipeline;
  std::vector<RankKind> kinds;
  for (std::int64_t index = 0; index < kinds_at_most; ++index) {
    const std::int64_t stage = index / parallel.tensor;
    const std::int64_t rank = stage * (question.ranks / parallel.pipeline) + index % parallel.tensor;
    const RankKind kind{rank, question.ranks / kinds_at_most,
                        need_on(mesh_of(question.job, question.ranks, rank), question)};
    const auto same =
        std::ranges::find_if(kinds, [&](const RankKind& other) { return other.need == kind.need; });
    if (same == kinds.end()) {
      kinds.push_back(kind);
    } else {
      same->count += kind.count;
    }
  }
  std::ranges::stable_sort(kinds, std::ranges::greater(),
                           [](const RankKind& kind) { return kind.need.total(); });
  return kinds;
}

}  // namespace moebius::plan

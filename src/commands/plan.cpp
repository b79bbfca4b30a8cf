#include "plan/plan.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "commands/job_model.h"
#include "training/hardware.h"
#include "training/memory_check.h"

namespace moebius::commands {
namespace {

/// GPUs as the command line describes them, a rank each.
plan::Machine described_gpu(const std::string& memory, const job::Job& job) {
  const auto bytes = parse_bytes(memory);
  if (!bytes) throw UsageError(fmt::format("--gpu-memory {}: a size such as 80GiB or 141GB", memory));
  if (job.model.device == job::Device::cpu)
    throw UsageError("--gpu-memory has no effect with model.device = \"cpu\" (leave it out)");
  const bool in_fp32 = job.model.precision == job::Precision::fp32;
  return {.space = Space::device,
          .precision = in_fp32 ? plan::Precision::fp32 : plan::Precision::bf16,
          .memory = *bytes,
          .name = "the GPU"};
}

constexpr const char* kHint = "--gpu-memory 80GiB plans for GPUs that are not here";

training::Compute compute_here(const job::Job& job, Session& session) {
  try {
    return training::choose_compute(training::wish_of(job), session.cluster);
  } catch (const cluster::AgreedError& error) {
    throw cluster::AgreedError(error.code(), fmt::format("{}; {}", error.what(), kHint));
  }
}

/// The machine that the command runs on, as a training of the job would use it.
plan::Machine machine_here(const job::Job& job, Session& session) {
  const training::Compute compute = compute_here(job, session);
  const bool wants_any = job.model.device == job::Device::automatic;
  if (wants_any && !compute.on_device()) session.log.info("no GPU is here: planned for CPUs; {}", kHint);
  return training::on_platform(compute.platform, [&]<class P>(std::type_identity<P>) -> plan::Machine {
    const auto hardware = session.cluster.together(
        "open the hardware", [&] { return std::make_unique<training::Hardware<P::kSpace>>(compute); });
    return training::machine_of<P>(*hardware, session.cluster);
  });
}

plan::Machine machine_for(const PlanCommand& command, const job::Job& job, Session& session) {
  if (!command.gpu_memory.empty())
    return session.cluster.together("check the arguments",
                                    [&] { return described_gpu(command.gpu_memory, job); });
  plan::Machine machine = machine_here(job, session);
  // Of other ranks than these it is not known how they lie: as many CPU ranks a node, a GPU each.
  if (command.ranks) machine.ranks = machine.space == Space::device ? 1 : *command.ranks;
  return machine;
}

}  // namespace

ExitCode plan(const PlanCommand& command, Session& session) {
  auto& cluster = session.cluster;
  job::Job job = load_job(command.job, job::Purpose::plan, session);
  const JobModel model = cluster.together("open the model", [&] {
    JobModel opened = open_job_model(job);
    open_adapter(job, opened);
    return opened;
  });
  const plan::Machine machine = machine_for(command, job, session);
  const plan::Question question{.job = job,
                                .config = model.config,
                                .ranks = command.ranks.value_or(cluster.size()),
                                .pack_tokens = plan::longest_pack(job),
                                .machine = machine};
  const bool draws = command.schedule != PlanCommand::Drawing::none || !command.schedule_svg.empty();
  struct Answer {
    std::string text, refusal, picture;
  };
  const Answer answer = cluster.together("plan", [&]() -> Answer {
    plan::check_against_model(job, model.config);
    plan::check_against_precision(job, machine.precision);
    if (draws && job.parallel.pipeline == 1)
      throw UsageError(
          "--schedule has nothing to draw: parallel.pipeline = 1 (use --set parallel.pipeline=N)");
    const std::vector<plan::RankKind> kinds = plan::rank_kinds(question);
    const plan::Need& most = kinds.front().need;
    Answer made;
    std::optional<plan::Advice> advice;
    if (!plan::fits(most, machine)) advice = plan::advise(question);
    made.text = plan::report_text(question, kinds, advice);
    if (advice) made.refusal = plan::refusal_text(machine, most, *advice);
    if (!draws) return made;
    const plan::PipelinePlan pipeline = plan::plan_pipeline(question);
    if (command.schedule == PlanCommand::Drawing::text) made.text += "\n" + plan::timeline_text(pipeline);
    made.picture = plan::timeline_svg(pipeline);
    return made;
  });
  if (!command.schedule_svg.empty())
    cluster.on_first_rank("write the picture", [&] { write_file(command.schedule_svg, answer.picture); });
  write_result(answer.text, session);
  if (!answer.refusal.empty()) throw cluster::AgreedError(ExitCode::cluster, answer.refusal);
  return ExitCode::done;
}

}  // namespace moebius::commands

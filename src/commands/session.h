#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "cluster/cluster.h"
#include "commands/command_line.h"
#include "job/job.h"
#include "job/load.h"

namespace moebius::commands {

/// What every command starts with.
struct Session {
  cluster::Cluster& cluster;
  const cluster::Environment& environment;
  Log log;
};

/// Divides the node's cores between its ranks, unless OMP_NUM_THREADS says how many threads each shall have:
/// more threads than cores would spend their time waiting for each other.
void share_cores(const Session& session);

/// Reads the job file on rank 0, parses and validates it on all. Throws UsageError with every problem.
[[nodiscard]] job::Job load_job(const JobArguments& arguments, job::Purpose purpose, Session& session);

/// Rank 0's text to stdout. Collective; throws AgreedError (ClusterError's code) where it cannot be written.
void write_result(const std::string& text, Session& session);

/// The verbs. Each is collective, throws Error, and returns what the launcher shall see.
ExitCode train(const TrainCommand& command, Session& session);
ExitCode check(const CheckCommand& command, Session& session);
ExitCode plan(const PlanCommand& command, Session& session);
ExitCode render(const RenderCommand& command, Session& session);
ExitCode import_folder(const ImportCommand& command, Session& session);
ExitCode export_folder(const ExportCommand& command, Session& session);
ExitCode score(const ScoreCommand& command, Session& session);
ExitCode generate(const GenerateCommand& command, Session& session);
ExitCode tokenize(const TokenizeCommand& command, Session& session);
ExitCode inspect(const InspectCommand& command, Session& session);
ExitCode version(const VersionCommand& command, Session& session);

}  // namespace moebius::commands

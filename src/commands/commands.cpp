#include "commands/commands.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#include "commands/session.h"
#include "training/hardware.h"

namespace moebius::commands {
namespace {

ExitCode dispatch(const Command& command, Session& session) {
  struct Verbs {
    Session& session;
    ExitCode operator()(const TrainCommand& c) const { return train(c, session); }
    ExitCode operator()(const CheckCommand& c) const { return check(c, session); }
    ExitCode operator()(const PlanCommand& c) const { return plan(c, session); }
    ExitCode operator()(const RenderCommand& c) const { return render(c, session); }
    ExitCode operator()(const ImportCommand& c) const { return import_folder(c, session); }
    ExitCode operator()(const ExportCommand& c) const { return export_folder(c, session); }
    ExitCode operator()(const ScoreCommand& c) const { return score(c, session); }
    ExitCode operator()(const GenerateCommand& c) const { return generate(c, session); }
    ExitCode operator()(const TokenizeCommand& c) const { return tokenize(c, session); }
    ExitCode operator()(const InspectCommand& c) const { return inspect(c, session); }
    ExitCode operator()(const VersionCommand& c) const { return version(c, session); }
  };
  share_cores(session);
  return std::visit(Verbs{session}, command);
}

/// Which of several processes speaks before MPI has numbered them.
bool speaks(const cluster::Environment& environment) {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const auto rank = environment.number(variable)) return *rank == 0;
  }
  return true;
}

/// What libraries of a GPU read from the environment when they start, unless the user has said otherwise.
void set_library_environment() {
  for (const auto& [name, value] : training::library_environment()) ::setenv(name.c_str(), value.c_str(), 0);
}

}  // namespace

int run(int argc, char** argv) {
  set_library_environment();
  const cluster::Environment environment = cluster::Environment::of(environ);
  const std::variant<Command, Reply> parsed = parse_command_line(argc, argv);
  const auto* reply = std::get_if<Reply>(&parsed);
  if (reply != nullptr && reply->exit_code == ExitCode::done) {
    if (speaks(environment)) std::fputs(reply->text.c_str(), stdout);
    return int(ExitCode::done);
  }
  try {
    cluster::Cluster cluster(environment);
    Session session{cluster, environment, Log(int(cluster.rank()))};
    return int(cluster.conclude([&] {
      // Told together: a launcher ends the other ranks when the first one returns an error, said or unsaid.
      if (reply != nullptr) throw cluster::AgreedError(reply->exit_code, reply->text);
      return dispatch(std::get<Command>(parsed), session);
    }));
  } catch (const Error& error) {  // start-up itself failed
    std::fprintf(stderr, "error: %s\n", error.what());
    return int(error.code());
  }
}

}  // namespace moebius::commands

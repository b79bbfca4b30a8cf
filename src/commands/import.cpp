#include "base/stopwatch.h"
#include "base/text.h"
#include "commands/session.h"
#include "hub/hub.h"
#include "models/models.h"

namespace moebius::commands {

ExitCode import_folder(const ImportCommand& command, Session& session) {
  const Stopwatch watch;
  const auto files =
      session.cluster.together("open the folder", [&] { return models::read_model_files(command.folder); });
  const auto folder = session.cluster.together(
      "open the weights", [&] { return std::make_unique<hub::HubFolder>(command.folder); });
  const auto weights = session.cluster.together("compare the weights with the config", [&] {
    const auto config = models::read_config(files.at("config.json"), command.folder + "/config.json");
    return std::make_unique<hub::HubWeights>(*folder, models::parameter_table(config));
  });
  for (const std::string& warning : weights->warnings()) session.log.warning("{}", warning);
  hub::import_model(*weights, files, command.out, session.cluster);
  session.log.info("imported {} to {} ({})", command.folder, command.out, seconds_text(watch.seconds()));
  return ExitCode::done;
}

}  // namespace moebius::commands

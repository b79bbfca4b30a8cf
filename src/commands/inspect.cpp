#include "checkpoint/checkpoint.h"
#include "commands/session.h"

namespace moebius::commands {

ExitCode inspect(const InspectCommand& command, Session& session) {
  const auto found = checkpoint::inspect(command.checkpoint, session.cluster);
  write_result(found.text, session);
  return found.damaged_slabs == 0 ? ExitCode::done : ExitCode::input;
}

}  // namespace moebius::commands

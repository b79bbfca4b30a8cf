#include "checkpoint/version.h"

#include <fmt/format.h>

#include "cluster/version.h"
#include "commands/session.h"

namespace moebius::commands {

ExitCode version(const VersionCommand&, Session& session) {
  const std::string text = fmt::format(
      "moebius {} ({})\ncompiler  {}\nmpi       {}\nhdf5      {}\nplatforms cpu fp32\n", MOEBIUS_VERSION,
      MOEBIUS_COMMIT, __VERSION__, cluster::mpi_version(), checkpoint::hdf5_version());
  write_result(text, session);
  return ExitCode::done;
}

}  // namespace moebius::commands

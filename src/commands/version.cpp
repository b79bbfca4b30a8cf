#include "checkpoint/version.h"

#include <fmt/format.h>

#include "cluster/version.h"
#include "commands/session.h"
#include "data/rows/column_file.h"

namespace moebius::commands {

ExitCode version(const VersionCommand&, Session& session) {
  const std::string parquet = data::parquet_reader();
  const std::string text = fmt::format(
      "moebius {} ({})\ncompiler  {}\nmpi       {}\nhdf5      {}\nparquet   {}\nplatforms cpu fp32\n",
      MOEBIUS_VERSION, MOEBIUS_COMMIT, __VERSION__, cluster::mpi_version(), checkpoint::hdf5_version(),
      parquet.empty() ? "not in this build" : parquet);
  write_result(text, session);
  return ExitCode::done;
}

}  // namespace moebius::commands

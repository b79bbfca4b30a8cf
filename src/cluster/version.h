#pragma once
#include <string>

namespace moebius::cluster {

/// The MPI library that is in use, in its own words (first line).
[[nodiscard]] std::string mpi_version();

}  // namespace moebius::cluster

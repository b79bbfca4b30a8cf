#include "cluster/version.h"

#include <array>

#include "cluster/mpi.h"

namespace moebius::cluster {

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check(MPI_Get_library_version(text.data(), &length));
  const std::string whole(text.data(), std::size_t(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

}  // namespace moebius::cluster

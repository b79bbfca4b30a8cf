#include "checkpoint/version.h"

#include <fmt/format.h>

#include "checkpoint/hdf5.h"

namespace moebius::checkpoint {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  checked(H5get_libversion(&major, &minor, &release), "ask HDF5 for its version");
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace moebius::checkpoint

#pragma once
#include <string>

namespace moebius::checkpoint {

/// "1.10.8": the HDF5 library that is in use.
[[nodiscard]] std::string hdf5_version();

}  // namespace moebius::checkpoint

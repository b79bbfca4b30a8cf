#pragma once
#include <cstdint>

namespace moebius {

/// The most memory that this process has had in RAM so far (getrusage).
[[nodiscard]] std::int64_t peak_resident_bytes();
/// Memory in RAM when this program's code and libraries were loaded and had done their start values, before
/// main; 0 where /proc does not say.
[[nodiscard]] std::int64_t resident_bytes_at_start();
/// How long ago this process was started by the system, to 10 ms; 0 where /proc does not say.
[[nodiscard]] double seconds_since_start();

/// Memory of this machine, or of the control group that the process is confined to, where that is less.
[[nodiscard]] std::int64_t machine_memory_bytes();

/// Cores of this machine, whoever may use them.
[[nodiscard]] int online_cores();

}  // namespace moebius

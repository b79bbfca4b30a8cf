#include "base/process.h"

#include <algorithm>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

namespace moebius {

std::int64_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;  // Linux gives KiB
}

std::int64_t machine_memory_bytes() {
  std::int64_t bytes = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  for (const char* limit : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::int64_t confined = 0;
    if (std::ifstream(limit) >> confined && confined > 0) bytes = std::min(bytes, confined);
  }
  return bytes;
}

int online_cores() {
  return int(sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace moebius

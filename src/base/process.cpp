#include "base/process.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

namespace moebius {
namespace {

std::int64_t resident_bytes() {
  std::int64_t virtual_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> virtual_pages >> resident_pages;
  return resident_pages * sysconf(_SC_PAGE_SIZE);
}

/// The program's own start values are the last to be made, behind those of its libraries.
const std::int64_t kResidentAtStart = resident_bytes();

}  // namespace

std::int64_t resident_bytes_at_start() {
  return kResidentAtStart;
}

std::int64_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;  // Linux gives KiB
}

double seconds_since_start() {
  std::string line;
  std::getline(std::ifstream("/proc/self/stat"), line);
  // "pid (name) state ...": the name may hold blanks. Field 22 is the start, in ticks since the machine's.
  std::istringstream fields(line.substr(std::min(line.rfind(')') + 1, line.size())));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  struct timespec now {};
  if (!fields || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double started = std::stod(field) / double(sysconf(_SC_CLK_TCK));
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec) - started;
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

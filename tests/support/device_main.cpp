#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include <cstdio>

#include "kernels/device/device.h"
#include "tests/support/catch.h"

constexpr int kSkipped = 77;  // what ctest takes for skipped, see tests/CMakeLists.txt

int main(int argc, char** argv) {
  if (moebius::kernels::device_count() == 0) {
    std::puts("no GPU here: skipped");
    return kSkipped;
  }
  return Catch::Session().run(argc, argv);
}

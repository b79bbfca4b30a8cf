#include "base/process.h"

#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("the program took some memory when it started, and no less since", "[process]") {
  CHECK(resident_bytes_at_start() > 1 << 20);
  CHECK(resident_bytes_at_start() <= peak_resident_bytes());
}

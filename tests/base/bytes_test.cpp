#include "base/text.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("sizes are read in decimal and binary units", "[text]") {
  CHECK(parse_bytes("5GB") == 5'000'000'000);
  CHECK(parse_bytes("80GiB") == std::int64_t{80} << 30);
  CHECK(parse_bytes("1.5 MB") == 1'500'000);
  CHECK(parse_bytes("4096") == 4096);
  CHECK(parse_bytes("7B") == 7);
  for (const char* wrong :
       {"", "GB", "-1GB", "0", "0.1B", "5gb", "5 G B", "5GB ", "1e3", "nan", "99999999999TB"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_bytes(wrong).has_value());
  }
}

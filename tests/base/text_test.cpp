#include "base/text.h"

#include "tests/support/catch.h"

namespace moebius {
namespace {

TEST_CASE("distance counts insertions, deletions, substitutions and swaps of neighbours", "[base]") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("expret", "expert") == 1);
  CHECK(edit_distance("abcd", "bacd") == edit_distance("bacd", "abcd"));
}

TEST_CASE("the nearest spelling is one that may have been meant, or none", "[base]") {
  const std::vector<std::string> words{"optimizer", "objective", "parallel", "lr"};
  CHECK(nearest_spelling("optmizer", words) == "optimizer");
  CHECK(nearest_spelling("objectiv", words) == "objective");
  CHECK(nearest_spelling("lt", words) == "lr");
  CHECK(nearest_spelling("deepspeed", words).empty());
  CHECK(nearest_spelling("optimizer", words) == "optimizer");
  CHECK(nearest_spelling("x", {}).empty());
}

TEST_CASE("divisors come from the smallest and stop at a count", "[base]") {
  CHECK(divisors_text(1) == "1");
  CHECK(divisors_text(7) == "1, 7");
  CHECK(divisors_text(12) == "1, 2, 3, 4, 6, 12");
  CHECK(divisors_text(128) == "1, 2, 4, 8, 16, 32, 64, 128");
  CHECK(divisors_text(256) == "1, 2, 4, 8, 16, 32, 64, 128, ...");
  CHECK(divisors_text(12, 3) == "1, 2, 3, ...");
}

TEST_CASE("sizes and times are short", "[base]") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(std::int64_t{80} << 30) == "80 GiB");
  CHECK(seconds_text(4.24) == "4.2s");
  CHECK(seconds_text(187) == "3m07s");
  CHECK(seconds_text(3720) == "1h02m");
}

TEST_CASE("join puts the separator between parts alone", "[base]") {
  CHECK(join(std::vector<std::string>{}).empty());
  CHECK(join(std::vector<std::string>{"a"}) == "a");
  CHECK(join(std::vector<std::string>{"a", "b", "c"}, " or ") == "a or b or c");
}

}  // namespace
}  // namespace moebius

#include "job/scale_table.h"

#include <string>

#include "base/error.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::job;

namespace {

std::string complaint(const std::string& text) {
  try {
    (void)parse_scale_table(text, "w.toml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a table of weights keeps the order of its file", "[job]") {
  const ScaleTable table = parse_scale_table(
      "[[words]]\ntext = \"Zeta:\"\nweight = 2\nafter = 0.5\n[[words]]\ntext = \"Alpha:\"\nweight = 1\n"
      "after = 0\n[[questions]]\ntext = \"why\"\nweight = 3.0\n",
      "w.toml");
  REQUIRE(table.words.size() == 2);
  CHECK(table.words[0].text == "Zeta:");
  CHECK(table.words[0].weight == 2);
  CHECK(table.words[0].after == 0.5);
  CHECK(table.words[1].text == "Alpha:");
  REQUIRE(table.questions.size() == 1);
  CHECK(table.questions[0].weight == 3);
  const ScaleTable patterns = parse_scale_table("[[patterns]]\npattern = '^a.+?b'\nweight = 0\n", "w.toml");
  REQUIRE(patterns.patterns.size() == 1);
  CHECK(patterns.patterns[0].pattern == "^a.+?b");
}

TEST_CASE("what is wrong with a table of weights is said all at once, with its places", "[job]") {
  const std::string said = complaint(
      "[[words]]\ntext = \"\"\nweight = -1\nafter = 1\nwait = 2\n[[word]]\ntext = \"b\"\n[[patterns]]\n"
      "pattern = 3\n");
  CHECK(said.find("w.toml:2:8  text must be a text that is not empty") != std::string::npos);
  CHECK(said.find("w.toml:3:10  weight must be a number from 0 on") != std::string::npos);
  CHECK(said.find("w.toml:5:8  unknown key 'wait'") != std::string::npos);
  CHECK(said.find("unknown name 'word' (did you mean \"words\"?)") != std::string::npos);
  CHECK(said.find("w.toml:9:11  pattern must be a text") != std::string::npos);
  CHECK(complaint("[[words]]\ntext = \"a\"\nweight = 1\nafter = 1\n[[patterns]]\npattern = 'b'\nweight = 0\n")
            .find("cannot stand in one table") != std::string::npos);
  CHECK(complaint("").find("no rule") != std::string::npos);
  CHECK(complaint("[[words]\n").find("w.toml:1:") == 0);
  CHECK(complaint("words = 3\n").find("words must be a list of tables") != std::string::npos);
  CHECK_THROWS_AS(read_scale_table("absent.toml"), InputError);
}

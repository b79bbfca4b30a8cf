#include <string>

#include "data/rows/json_dump.h"
#include "data/rows/python_literal.h"
#include "data/rows/python_repr.h"
#include "data/rows/python_text.h"
#include "tests/support/catch.h"

using namespace moebius::data;

namespace {

std::string dumped(const std::string& json) {
  JsonParser parser;
  const auto value = parser.parse(json);
  return value ? json_dump(*value) : "not JSON";
}

std::string literal(const std::string& text) {
  const auto value = python_literal(text);
  return value ? json_dump(*value) : "no literal";
}

}  // namespace

TEST_CASE("JSON is written as Python writes it", "[data][rows]") {
  CHECK(dumped(R"( {"b":1,"a":[true,false,null,"x"],"c":{}} )") ==
        R"({"b": 1, "a": [true, false, null, "x"], "c": {}})");
  CHECK(dumped(R"(["é\/\u00e9\ud83d\ude00\n\t\b\f\r\"\\<b>\u0001\u007f"])") ==
        "[\"é/é😀\\n\\t\\b\\f\\r\\\"\\\\<b>\\u0001\x7f\"]");
  CHECK(dumped("[1.50, 1e3, 1e5, 1E-7, 0.0001, 0.00001, -0.0, -0, 1e16, 1e15, 123456.789e3, 5e-324]") ==
        "[1.5, 1000.0, 100000.0, 1e-07, 0.0001, 1e-05, -0.0, 0, 1e+16, 1000000000000000.0, 123456789.0, "
        "5e-324]");
  CHECK(dumped("[123456789012345678901234567890]") == "[123456789012345678901234567890]");
  CHECK(dumped(R"({"a": 1, "b": 2, "a": 3})") == R"({"a": 3, "b": 2})");
  CHECK(dumped("\"text\"") == "\"text\"");
  CHECK(dumped(" 12 ") == "12");
  for (const char* bad :
       {"", " ", "1, 2", "1] , [2", "[1", "{\"a\"}", "nul", "'a'", "[01]", "[1.]", "[+1]"}) {
    CHECK(dumped(bad) == "not JSON");
  }
}

TEST_CASE("Python literals", "[data][rows]") {
  CHECK(literal("{'a': True, 'b': (1, None), \"c\": {'d'}, 1: -2.50}") ==
        R"({"a": true, "b": [1, null], "c": ["d"], "1": -2.5})");
  CHECK(literal("[['q', 'r'], [\"it's\", '''two\nlines'''],]") == R"([["q", "r"], ["it's", "two\nlines"]])");
  CHECK(literal(R"('a\n\x41\u00e9\U0001F600\101\q' "b" r'\n')") == R"("a\nAé😀A\\qb\\n")");
  CHECK(literal("(1)") == "1");
  CHECK(literal("(1,)") == "[1]");
  CHECK(literal("()") == "[]");
  CHECK(literal("[1_000, .5, 1., +3, -0]") == "[1000, 0.5, 1.0, 3, 0]");
  for (const char* bad : {"", "calc(1)", "[1", "{'a' 1}", "b'x'", "'a", "1 2", "Truth", "1j", "{'a': 1"}) {
    CHECK(literal(bad) == "no literal");
  }
  CHECK(literal(std::string(100000, '[')) == "no literal");
}

TEST_CASE("white space is Python's, of all Unicode", "[data][rows]") {
  CHECK(strip("\x1c \t\n\u00a0a b\u3000\u2028\u0085") == "a b");
  CHECK(strip(" \u3000").empty());
  CHECK(strip("\u200bx") == "\u200bx");  // a zero-width space is none
  CHECK(space_in_front("\u2003\nx ") == 4);
  std::string text = "aXXa";
  replace_all(text, "X", "XX");
  CHECK(text == "aXXXXa");
}

TEST_CASE("values are printed as Python prints them", "[data][rows]") {
  const auto printed = [](const std::string& json) {
    JsonParser parser;
    return python_str(parser.parse(json).value());
  };
  CHECK(printed(R"({"a": [1, 1.50, 1e5, true, false, null], "b": {}, "c": []})") ==
        "{'a': [1, 1.5, 100000.0, True, False, None], 'b': {}, 'c': []}");
  CHECK(printed(R"("as 'it' is")") == "as 'it' is");
  CHECK(printed(R"(["'", "\"", "'\"", "\\", "\n\r\t"])") == R"(["'", '"', '\'"', '\\', '\n\r\t'])");
  CHECK(printed(R"(["é", "中", "\u0001", "\u00a0", "\u200b", "\u2028", "\ue000", "😀"])") ==
        R"(['é', '中', '\x01', '\xa0', '\u200b', '\u2028', '\ue000', '😀'])");
}

TEST_CASE("JSON with four spaces a level", "[data][rows]") {
  JsonParser parser;
  CHECK(json_dump_indented(parser.parse(R"({"a": [1, {"b": []}], "c": {}})").value()) ==
        "{\n    \"a\": [\n        1,\n        {\n            \"b\": []\n        }\n    ],\n    \"c\": {}\n}");
}

#include <stdexcept>

#include "base/error.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/splitter.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::data;
using Words = std::vector<std::string>;

namespace {

Words words_of(const std::string& pattern, const std::string& text, Matches matches = Matches::isolated) {
  const Splitter splitter(
      {.before_prefix = {{.pattern = pattern, .matches = matches, .place = "test"}}, .after_prefix = {}});
  Pattern::MatchSpace space;
  Words words;
  splitter.split(text, space, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

// The three families of models.
const std::string kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string kLlama =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string kDeepSeek =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

}  // namespace

TEST_CASE("the models' patterns cut text into words", "[data][tokenizer]") {
  const std::string text = "I'LL pay 1234 now,  ok?\n\n  x";
  CHECK(words_of(kQwen, text) ==
        Words{"I", "'LL", " pay", " ", "1", "2", "3", "4", " now", ",", " ", " ok", "?\n\n", " ", " x"});
  CHECK(words_of(kLlama, text)[4] == "123");
  CHECK(words_of(kDeepSeek, "don't  f(x) = .y\n 你好e\u0301") ==
        Words{"don", "'t", " ", " f", "(x", ")", " =", " .", "y", "\n", " 你好e\u0301"});
}

TEST_CASE("spaces are those of Unicode, which PCRE2's \\s are not", "[data][tokenizer]") {
  CHECK(words_of(R"(\s+)", "a\u00a0\u2003\u3000\u0085\vb") == Words{"a", "\u00a0\u2003\u3000\u0085\v", "b"});
  CHECK(words_of(R"(\s+)", "a\u180e\u200bb") == Words{"a\u180e\u200bb"});
  CHECK(words_of(R"([^\s]+)", "a\u180e b") == Words{"a\u180e", " ", "b"});
}

TEST_CASE("patterns are written in PCRE2's dialect", "[data][tokenizer]") {
  CHECK(in_pcre2_dialect(R"(\s[\s\r]\S\\s)") == R"(\p{White_Space}[\p{White_Space}\r]\P{White_Space}\\s)");
  CHECK(in_pcre2_dialect(R"(\p{Ll}\P{Lu}\p{^Nd}\P{^Sc}\p{Han})") == R"(\p{Ll}\P{Lu}\P{Nd}\p{Sc}\p{sc:Han})");
  CHECK(in_pcre2_dialect(R"([\u3040-\u309f])") == R"([\x{3040}-\x{309f}])");
  CHECK(words_of(R"(\p{Han}+)", "a你好。b") == Words{"a", "你好", "。b"});
  CHECK(words_of(R"(\w+)", "e\u0301_1² ") == Words{"e\u0301_1²", " "});
  CHECK(words_of("^a", "a\na", Matches::removed) == Words{"\n"});  // lines, as in Ruby
}

TEST_CASE("characters of Unicode 15 and 16 are in their categories", "[data][tokenizer]") {
  CHECK(words_of(kDeepSeek, "\U0001FA77abc") == Words{"\U0001FA77", "abc"});        // a heart
  CHECK(words_of(kQwen, "你\U00031350\u31e4") == Words{"你\U00031350", "\u31e4"});  // a letter, a stroke
  CHECK(words_of(R"(\P{S}+)", "a\U0001FA77b") == Words{"a", "\U0001FA77", "b"});
  CHECK(words_of(R"([^\p{S}]+)", "a\U0001FA77b") == Words{"a", "\U0001FA77", "b"});
  CHECK(words_of(R"(\p{N})", "1\U00010D40") == Words{"1", "\U00010D40"});
}

TEST_CASE("what the dialects read differently is refused by name", "[data][tokenizer]") {
  using moebius::test::contains;
  CHECK_THROWS_WITH(in_pcre2_dialect(R"(a\hb)"), contains(R"('\h' at offset 1 is not built)"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"(\bword)"), contains(R"('\b' at offset 0)"));
  CHECK_THROWS_WITH(in_pcre2_dialect("[a[bc]]"), contains("'[ in a set' at offset 2"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"([\p{L}&&[^a]])"), contains("'&&'"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"([\P{L}a])"), contains(R"('\P{L}' at offset 1)"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"(\p{N}{1,3}+)"), contains("'}+'"));
  CHECK_THROWS_WITH(in_pcre2_dialect("(?m:.)"), contains("'(?m:'"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"(\u30)"), contains(R"('\u')"));
  CHECK_THROWS_WITH(in_pcre2_dialect(R"(\1)"), contains(R"('\1')"));
}

TEST_CASE("a pattern that does not compile is refused with place, reason and offset", "[data][tokenizer]") {
  using moebius::test::contains;
  const auto compile = [](const std::string& pattern) {
    return Pattern(pattern, Syntax::regex, "f.json: pre_tokenizer.pattern");
  };
  CHECK_THROWS_AS(compile("a(b"), InputError);
  CHECK_THROWS_WITH(compile("a(b"),
                    contains("f.json: pre_tokenizer.pattern: the regular expression does not compile: "
                             "missing closing parenthesis, behind 'a(b'"));
  CHECK_THROWS_WITH(compile(R"(\p{Klingon})"), contains("unknown property"));
  CHECK_THROWS_WITH(compile("a*"), contains("may match the empty text"));
}

TEST_CASE("a literal pattern means its letters", "[data][tokenizer]") {
  const Splitter splitter({.before_prefix = {{.pattern = "a.(", .syntax = Syntax::literal, .place = "test"}},
                           .after_prefix = {}});
  Pattern::MatchSpace space;
  Words words;
  splitter.split("xa.(axx", space, [&](std::string_view word) { words.emplace_back(word); });
  CHECK(words == Words{"x", "a.(", "axx"});
}

TEST_CASE("splits join matches as their behaviour says", "[data][tokenizer]") {
  const std::string text = "the-final--countdown";
  CHECK(words_of("-", text, Matches::isolated) == Words{"the", "-", "final", "-", "-", "countdown"});
  CHECK(words_of("-", text, Matches::removed) == Words{"the", "final", "countdown"});
  CHECK(words_of("-", text, Matches::merged_with_previous) == Words{"the-", "final-", "-", "countdown"});
  CHECK(words_of("-", text, Matches::merged_with_next) == Words{"the", "-final", "-", "-countdown"});
  CHECK(words_of("-", text, Matches::contiguous) == Words{"the", "-", "final", "--", "countdown"});
}

TEST_CASE("a match too deep for the machine stack is found all the same", "[data][tokenizer]") {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += i % 3 == 0 ? "ab" : "ba";
  CHECK(words_of("(?:a|b|ab)+(?:c|$)", text) == Words{text});
}

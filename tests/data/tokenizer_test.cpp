#include <nlohmann/json.hpp>
#include <thread>

#include "tests/data/tokenizer_json.h"
#include "tests/support/catch.h"

using namespace moebius;
using data::SpecialTokens;
using data::Tokenizer;
using nlohmann::json;
using test::add_token;
using test::byte_ids;
using Ids = std::vector<std::int32_t>;

namespace {

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// 256 he, 257 ll, 258 hell, 259 hello, 260 Ġhello
json hello_json() {
  return test::small_tokenizer_json({{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "hello"}});
}

}  // namespace

TEST_CASE("words become tokens by merges, and bytes where there is none", "[data][tokenizer]") {
  const Tokenizer tokenizer = test::load(hello_json());
  CHECK(tokenizer.encode("").empty());
  CHECK(tokenizer.encode("hello hello") == Ids{259, 260});
  CHECK(tokenizer.encode("help") == joined({{256}, byte_ids("lp")}));
  CHECK(tokenizer.encode("é\n") == byte_ids("é\n"));
  CHECK(tokenizer.vocab_size() == 261);
  CHECK(tokenizer.id_of("Ġhello") == 260);
  CHECK(tokenizer.id_of("Ġ") == 32);
  CHECK_FALSE(tokenizer.id_of(" hello").has_value());
}

TEST_CASE("merges may be written as text or as pairs", "[data][tokenizer]") {
  json as_text = hello_json();
  for (json& merge : as_text["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  CHECK(test::load(as_text).encode("hello hello") == Ids{259, 260});
}

TEST_CASE("the earliest merge comes first, at its leftmost place", "[data][tokenizer]") {
  // abc: with "b c" before "a b", a|bc; the pair (a, bc) has no merge.
  CHECK(test::load(test::small_tokenizer_json({{"b", "c"}, {"a", "b"}})).encode("abc") == Ids{'a', 256});
  CHECK(test::load(test::small_tokenizer_json({{"a", "b"}, {"b", "c"}})).encode("abc") == Ids{256, 'c'});
  CHECK(test::load(test::small_tokenizer_json({{"a", "a"}})).encode("aaa") == Ids{256, 'a'});
}

TEST_CASE("ignore_merges takes a word of the vocabulary whole", "[data][tokenizer]") {
  json tokenizer = hello_json();
  tokenizer["model"]["vocab"]["Ġbye"] = 261;  // no merges lead there
  CHECK(test::load(tokenizer).encode("x bye") == byte_ids("x bye"));
  tokenizer["model"]["ignore_merges"] = true;
  CHECK(test::load(tokenizer).encode("x bye") == Ids{'x', 261});
  CHECK(test::load(tokenizer).encode("x byes hello") == joined({byte_ids("x byes"), {260}}));
}

TEST_CASE("added tokens are cut out: leftmost, then longest", "[data][tokenizer]") {
  json file = hello_json();
  const int end = add_token(file, "<|end|>"), endless = add_token(file, "<|end|>less");
  const int think = add_token(file, "<think>", {{"special", false}});
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.encode("hello<|end|>hello<|end|>less") == Ids{259, end, 259, endless});
  CHECK(tokenizer.encode("<think><|end|>") == Ids{think, end});
  CHECK(tokenizer.encode("<|end |>") == byte_ids("<|end |>"));
  CHECK(tokenizer.vocab_size() == 264);
  CHECK(tokenizer.id_of("<think>") == think);

  const Ids ids{259, end, 260, think};
  CHECK(tokenizer.decode(ids, SpecialTokens::keep) == "hello<|end|> hello<think>");
  CHECK(tokenizer.decode(ids, SpecialTokens::skip) == "hello hello<think>");
}

TEST_CASE("an added token may be one of the vocabulary", "[data][tokenizer]") {
  json file = hello_json();
  file["added_tokens"].push_back({{"id", 259}, {"content", "hello"}, {"special", true}});
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.encode("xhellox") == Ids{'x', 259, 'x'});
  CHECK(tokenizer.decode(Ids{'x', 259}, SpecialTokens::skip) == "x");
  CHECK(tokenizer.vocab_size() == 261);
}

TEST_CASE("lstrip and rstrip take spaces along", "[data][tokenizer]") {
  json file = test::small_tokenizer_json();
  const int left = add_token(file, "<l>", {{"lstrip", true}}),
            right = add_token(file, "<r>", {{"rstrip", true}});
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.encode("a \u2003<l> b") == joined({{'a', left}, byte_ids(" b")}));
  CHECK(tokenizer.encode("a <r>\n\u3000b") == joined({byte_ids("a "), {right, 'b'}}));
  CHECK(tokenizer.encode("<r>  <l>") == Ids{right, left});
  CHECK(tokenizer.decode(Ids{'a', left}, SpecialTokens::keep) == "a<l>");
}

TEST_CASE("single_word leaves tokens inside words alone", "[data][tokenizer]") {
  json file = test::small_tokenizer_json();
  const int cat = add_token(file, "cat", {{"single_word", true}});
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.encode("cat-cat.") == joined({{cat, '-', cat, '.'}}));
  for (const std::string word : {"cats", "écat", "cat_", "cat9", "cat\u0301"}) {
    CHECK(tokenizer.encode(word) == byte_ids(word));
  }
}

TEST_CASE("normalised tokens are looked for in normalised text, others in raw text", "[data][tokenizer]") {
  json file = test::small_tokenizer_json();
  file["normalizer"] = {{"type", "NFC"}};
  const int normalised = add_token(file, "<e\u0301>", {{"normalized", true}});
  const int raw = add_token(file, "[e\u0301]");
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.encode("<e\u0301><\u00e9>") == Ids{normalised, normalised});
  CHECK(tokenizer.encode("[e\u0301][\u00e9]") == joined({{raw}, byte_ids("[\u00e9]")}));
  // Composition does not reach over an added token.
  CHECK(tokenizer.encode("e[e\u0301]\u0301") == joined({{'e', raw}, byte_ids("\u0301")}));
}

TEST_CASE("NFC composes before anything else", "[data][tokenizer]") {
  json file = test::small_tokenizer_json();
  CHECK(test::load(file).encode("e\u0301") == byte_ids("e\u0301"));
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  CHECK(test::load(file).encode("e\u0301") == byte_ids("e\u0301"));
  file["normalizer"]["normalizers"].push_back({{"type", "NFC"}});
  CHECK(test::load(file).encode("e\u0301") == byte_ids("\u00e9"));
}

TEST_CASE("the byte level splits like GPT-2 where it uses its pattern", "[data][tokenizer]") {
  json file = test::small_tokenizer_json({{"Ġ", "Ġ"}, {"o", "Ġ"}, {"1", "2"}});
  CHECK(test::load(file).encode("o 12  x") == joined({byte_ids("o "), {258}, byte_ids("  x")}));
  file["pre_tokenizer"]["use_regex"] = false;
  CHECK(test::load(file).encode("o 12  x") == Ids{257, 258, 256, 'x'});
}

TEST_CASE("add_prefix_space puts a space before every piece that has none", "[data][tokenizer]") {
  json file = hello_json();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const int end = add_token(file, "<|end|>");
  CHECK(test::load(file).encode("hello") == Ids{260});
  CHECK(test::load(file).encode(" hello<|end|>hello") == Ids{260, end, 260});
  CHECK(test::load(file).encode("").empty());
}

TEST_CASE("digits are split from the rest, together or one by one", "[data][tokenizer]") {
  json file = test::small_tokenizer_json({{"1", "2"}, {"a", "1"}});
  const auto ids = [&](bool individual) {
    file["pre_tokenizer"] = test::sequence_of({{{"type", "Digits"}, {"individual_digits", individual}}});
    return test::load(file).encode("a12");
  };
  CHECK(ids(false) == Ids{'a', 256});
  CHECK(ids(true) == Ids{'a', '1', '2'});
}

TEST_CASE("splits keep, drop or join what they match", "[data][tokenizer]") {
  // Each word ends in a token of its own, so the ids show the words: with "x -" merged, the- is one word.
  json file = test::small_tokenizer_json({{"a", "-"}, {"-", "b"}, {"-", "-"}, {"a", "b"}});
  const auto ids = [&](const std::string& behavior, bool invert = false) {
    file["pre_tokenizer"] = test::sequence_of({test::split_step({{"String", "-"}}, behavior, invert)});
    return test::load(file).encode("a--b");
  };
  CHECK(ids("Isolated") == byte_ids("a--b"));
  CHECK(ids("Removed") == byte_ids("ab"));
  CHECK(ids("MergedWithPrevious") == Ids{256, '-', 'b'});
  CHECK(ids("MergedWithNext") == Ids{'a', '-', 257});
  CHECK(ids("Contiguous") == Ids{'a', 258, 'b'});
  CHECK(ids("Removed", true) == byte_ids("--"));
  CHECK(ids("MergedWithPrevious", true) == Ids{'a', '-', 257});
}

TEST_CASE("later splits see the pieces of earlier ones as whole texts", "[data][tokenizer]") {
  // " 1": the first split cuts at the digit, so that \s+(?!\S) may take the space before it.
  json file = test::small_tokenizer_json({{"Ġ", "Ġ"}});
  file["pre_tokenizer"] = test::sequence_of({test::split_step({{"Regex", "\\p{N}{1,3}"}}, "Isolated"),
                                             test::split_step({{"Regex", "\\s+(?!\\S)|\\s"}}, "Isolated")});
  CHECK(test::load(file).encode("  1") == Ids{256, '1'});
  CHECK(test::load(file).encode("  x") == byte_ids("  x"));
}

TEST_CASE("bytes that are no UTF-8 are read as U+FFFD", "[data][tokenizer]") {
  const Tokenizer tokenizer = test::load(test::small_tokenizer_json());
  CHECK(tokenizer.encode("a\xFF\xE4\xBD"
                         "b") == byte_ids("a\uFFFD\uFFFDb"));
}

TEST_CASE("decoding joins the bytes of all tokens before it reads them", "[data][tokenizer]") {
  json file = test::small_tokenizer_json();
  const int foreign = add_token(file, "日本");
  const Tokenizer tokenizer = test::load(file);
  CHECK(tokenizer.decode(byte_ids("日"), SpecialTokens::keep) == "日");
  CHECK(tokenizer.decode(Ids{0xE6, 0x97, 'x', 0xA5}, SpecialTokens::keep) == "\uFFFDx\uFFFD");
  CHECK(tokenizer.decode(Ids{foreign}, SpecialTokens::keep) == "日本");
  CHECK(tokenizer.decode(Ids{'a', 5000, -1, 'b'}, SpecialTokens::keep) == "ab");
}

TEST_CASE("one tokenizer serves many threads", "[data][tokenizer]") {
  json file = hello_json();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = test::load(file);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "hello help e\u0301 " + std::to_string(i) + "\n";
  const Ids expected = tokenizer.encode(text);
  std::array<Ids, 4> results;
  {
    std::vector<std::jthread> threads;
    threads.reserve(results.size());
    for (Ids& result : results) threads.emplace_back([&] { result = tokenizer.encode(text); });
  }
  for (const Ids& result : results) CHECK(result == expected);
}

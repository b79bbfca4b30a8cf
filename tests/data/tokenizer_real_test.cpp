#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/tokenizer/config.h"
#include "data/tokenizer/file.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/unicode.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"
#include "tests/support/unpacked_tokenizer.h"

using namespace moebius;
using data::Normalisation;
using data::SpecialTokens;
using data::Tokenizer;
using nlohmann::json;
using Ids = std::vector<std::int32_t>;
namespace fs = std::filesystem;

namespace {

bool has_xz() {
  if (std::system("xz --version > /dev/null 2>&1") == 0) return true;
  std::fprintf(stderr, "skipped: the program xz is not installed\n");
  return false;
}

std::string in_form(const std::string& text, Normalisation normalisation) {
  return normalisation == Normalisation::nfc ? data::to_nfc(text) : text;
}

/// Rows {"text", "ids"[, "decoded"]}; without "decoded", the text comes back as it is, or in NFC.
void check_rows(const Tokenizer& tokenizer, const fs::path& path, Normalisation normalisation) {
  std::ifstream stream(path);
  std::string line;
  int rows = 0;
  for (; std::getline(stream, line); ++rows) {
    const json row = json::parse(line);
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<Ids>();
    const std::string decoded = row.value("decoded", in_form(text, normalisation));
    const bool same = tokenizer.encode(text) == ids && tokenizer.decode(ids, SpecialTokens::keep) == decoded;
    if (!same) FAIL_CHECK(path << ":" << rows + 1 << ": " << line.substr(0, 200));
  }
  INFO(path);
  CHECK(rows >= 40);
}

/// llama.cpp's cases: texts between separators, the ids of each on a line.
void check_llama_cpp(const Tokenizer& tokenizer, const fs::path& stem, Normalisation normalisation) {
  std::ifstream texts(stem.string() + ".inp", std::ios::binary), expected(stem.string() + ".out");
  std::stringstream all;
  all << texts.rdbuf();
  const std::string input = all.str(), separator = "\n__ggml_vocab_test__\n";
  std::string line;
  int cases = 0;
  for (std::size_t begin = 0, end = 0; (end = input.find(separator, begin)) != std::string::npos; ++cases) {
    const std::string text = input.substr(begin, end - begin);
    begin = end + separator.size();
    REQUIRE(std::getline(expected, line));
    std::istringstream numbers(line);
    const Ids ids{std::istream_iterator<std::int32_t>(numbers), {}};
    const bool same = tokenizer.encode(text) == ids &&
                      tokenizer.decode(ids, SpecialTokens::keep) == in_form(text, normalisation);
    if (!same) FAIL_CHECK(stem << ": case " << cases + 1);
  }
  CHECK(cases == 46);
}

}  // namespace

TEST_CASE("real tokenizers give the ids of Hugging Face tokenizers", "[data][tokenizer]") {
  const auto shared = test::shared_folder();
  if (!shared || !has_xz()) return;
  const std::string name = GENERATE("qwen3", "qwen2_5", "llama3_1", "deepseek_v3");
  const Tokenizer tokenizer = test::unpacked_tokenizer(*shared, name);
  check_rows(tokenizer, *shared / "data/fixtures" / ("tokenize_" + name + ".jsonl"), Normalisation::none);
}

TEST_CASE("real tokenizers give the ids of llama.cpp's cases", "[data][tokenizer]") {
  const auto shared = test::shared_folder();
  if (!shared || !has_xz()) return;
  // deepseek-r1-qwen has Qwen's base vocabulary, and none of the texts holds an added token.
  const fs::path cases = *shared / "data/fixtures";
  check_llama_cpp(test::unpacked_tokenizer(*shared, "llama3_1"), cases / "llamacpp_ggml-vocab-llama-bpe.gguf",
                  Normalisation::none);
  const Tokenizer qwen = test::unpacked_tokenizer(*shared, "qwen2_5");
  check_llama_cpp(qwen, cases / "llamacpp_ggml-vocab-qwen2.gguf", Normalisation::nfc);
  check_llama_cpp(qwen, cases / "llamacpp_ggml-vocab-deepseek-r1-qwen.gguf", Normalisation::nfc);
}

TEST_CASE("the tiny models' tokenizers give the expected ids", "[data][tokenizer]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  const fs::path tiny = *shared / "data/fixtures/tiny";
  for (const std::string model : {"qwen2_dense", "qwen3_dense", "qwen3_moe_a", "qwen3_moe_b"}) {
    check_rows(Tokenizer::load(tiny / model), tiny / "tokenizer_cases.jsonl", Normalisation::nfc);
  }
  check_rows(Tokenizer::load(tiny / "tokenizer_rich"), tiny / "tokenizer_rich/tokenizer_cases.jsonl",
             Normalisation::nfc);
}

TEST_CASE("the quickstart's tokenizer fits its model and rows", "[data][tokenizer]") {
  const fs::path folder = fs::path(__FILE__).parent_path() / "../../jobs/quickstart";
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const json model = json::parse(std::ifstream(folder / "config.json"));
  CHECK(tokenizer.vocab_size() == model.at("vocab_size"));
  const auto config = data::TokenizerConfig::load(folder);
  CHECK(tokenizer.id_of(config.eos_token.value()) == model.at("eos_token_id").get<int>());
  CHECK(config.has_chat_template);
  std::size_t tokens = 0, bytes = 0;
  for (const std::string file : {"train.jsonl", "validation.jsonl", "question.jsonl"}) {
    std::ifstream stream(folder / file);
    std::string line;
    while (std::getline(stream, line)) {
      const json row = json::parse(line);
      for (const json& message : row.at("messages")) {
        const auto content = message.at("content").get<std::string>();
        const Ids ids = tokenizer.encode(content);
        CHECK(tokenizer.decode(ids, SpecialTokens::keep) == content);
        tokens += ids.size(), bytes += content.size();
      }
    }
  }
  CHECK(bytes > 3 * tokens);  // it was trained on such text
}

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/tokenizer/config.h"
#include "tests/data/tokenizer_json.h"
#include "tests/support/catch.h"

using namespace moebius;
using data::Tokenizer;
using data::TokenizerConfig;
using nlohmann::json;
using test::contains;

namespace {

/// The message with which a tokenizer.json is refused, from the file's name on.
std::string refusal(const std::string& text) {
  try {
    const Tokenizer tokenizer = test::load(text);
  } catch (const InputError& error) {
    const std::string message = error.what();
    return message.substr(message.find("tokenizer.json"));
  }
  return "accepted";
}
std::string refusal(const json& file) {
  return refusal(file.dump());
}

json with(const std::string& pointer, const json& value) {
  json file = test::small_tokenizer_json({{"h", "e"}});
  file[json::json_pointer(pointer)] = value;
  return file;
}

json without(const std::string& key) {
  json file = test::small_tokenizer_json();
  file.erase(key);
  return file;
}

}  // namespace

TEST_CASE("a folder without tokenizer.json is refused with what it lacks", "[data][tokenizer]") {
  const test::TemporaryFolder folder;
  CHECK_THROWS_AS(Tokenizer::load(folder.path()), InputError);
  CHECK_THROWS_WITH(Tokenizer::load(folder.path()), folder.path().string() + ": has no tokenizer.json");
  std::ofstream(folder / "vocab.json") << "{}";
  CHECK_THROWS_WITH(Tokenizer::load(folder.path()),
                    contains("has no tokenizer.json; vocab.json and merges.txt are not read") &&
                        contains("save_pretrained"));
  CHECK_THROWS_WITH(Tokenizer::load(folder / "absent"), contains("absent: no such file or folder"));
}

TEST_CASE("a file that is not JSON is refused with the byte", "[data][tokenizer]") {
  CHECK_THAT(refusal(std::string(R"({"model": {)")), contains("tokenizer.json: byte 12: not JSON: "));
  CHECK_THAT(refusal(std::string("")), contains("not JSON"));
  CHECK_THAT(refusal(std::string("[1e999]")), contains("not JSON"));
  CHECK_THAT(refusal(std::string("[1]")),
             contains("tokenizer.json: top level: must be an object, is an array"));
}

TEST_CASE("what is missing is named", "[data][tokenizer]") {
  CHECK(refusal(without("model")) == "tokenizer.json: top level: 'model' is missing");
  CHECK(refusal(without("pre_tokenizer")) == "tokenizer.json: top level: 'pre_tokenizer' is missing");
  CHECK(refusal(without("decoder")) == "tokenizer.json: top level: 'decoder' is missing");
  json file = test::small_tokenizer_json();
  file["model"].erase("vocab");
  CHECK(refusal(file) == "tokenizer.json: model: 'vocab' is missing");
  file = test::small_tokenizer_json();
  file["model"].erase("merges");
  CHECK(refusal(file) == "tokenizer.json: model: 'merges' is missing");
}

TEST_CASE("what is not built is refused by name", "[data][tokenizer]") {
  CHECK_THAT(refusal(with("/model/type", "Unigram")), contains("model.type: model 'Unigram' is not built"));
  CHECK_THAT(refusal(with("/normalizer", {{"type", "NFKC"}})),
             contains("normalizer: normalizer 'NFKC' is not built"));
  CHECK_THAT(refusal(with("/pre_tokenizer", {{"type", "Metaspace"}})),
             contains("pre-tokenizer 'Metaspace' is not built"));
  CHECK_THAT(refusal(with("/pre_tokenizer", {{"type", "Digits"}})), contains("has no ByteLevel"));
  CHECK_THAT(refusal(with("/decoder", {{"type", "Fuse"}})), contains("decoder 'Fuse' is not built"));
  CHECK_THAT(refusal(with("/model/byte_fallback", true)), contains("model.byte_fallback: is not built"));
  CHECK_THAT(refusal(with("/model/dropout", 0.1)), contains("model.dropout: dropout"));
  CHECK_THAT(refusal(with("/model/continuing_subword_prefix", "##")),
             contains("model.continuing_subword_prefix: '##' is not built"));
  CHECK_THAT(refusal(with("/model/end_of_word_suffix", "</w>")), contains("'</w>' is not built"));
  json after = test::small_tokenizer_json();
  after["pre_tokenizer"] = test::sequence_of(json::array());
  after["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Digits"}});
  CHECK_THAT(refusal(after),
             contains("pre_tokenizer.pretokenizers[1]: 'Digits' after ByteLevel is not built"));
}

TEST_CASE("settings that change nothing are accepted", "[data][tokenizer]") {
  for (const json& file : {with("/model/dropout", 0.0), with("/model/dropout", nullptr),
                           with("/model/continuing_subword_prefix", ""), with("/model/unk_token", "<unk>"),
                           with("/model/fuse_unk", true), with("/truncation", {{"max_length", 5}})}) {
    CHECK(refusal(file) == "accepted");
  }
}

TEST_CASE("splits are checked", "[data][tokenizer]") {
  const auto split = [](const json& pattern, const std::string& behavior) {
    return with("/pre_tokenizer", test::sequence_of({test::split_step(pattern, behavior)}));
  };
  CHECK_THAT(refusal(split({{"Regex", "a(b"}}, "Isolated")),
             contains("pre_tokenizer.pretokenizers[0].pattern: the regular expression does not compile"));
  CHECK_THAT(refusal(split({{"Regex", "a"}}, "Sideways")),
             contains("pretokenizers[0].behavior: 'Sideways' is no behaviour"));
  CHECK_THAT(refusal(split({{"Glob", "a"}}, "Isolated")), contains("has neither 'Regex' nor 'String'"));
}

TEST_CASE("a vocabulary without sense is refused", "[data][tokenizer]") {
  CHECK_THAT(refusal(with("/model/vocab/x", -4)), contains("model.vocab: token 'x' has the negative id -4"));
  CHECK_THAT(refusal(with("/model/vocab/x", 1.5)), contains("token 'x': its id 1.5 is not a whole number"));
  CHECK_THAT(refusal(with("/model/vocab/xy", 97)), contains("'a' and 'xy' have the same id 97"));
  CHECK_THAT(refusal(with("/model/vocab/xy", 99999999)), contains("token 'xy' has id 99999999, beyond"));
  CHECK_THAT(refusal(with("/model/vocab", json::array())),
             contains("model.vocab: must be an object, is an array"));
  json file = test::small_tokenizer_json();
  file["model"]["vocab"].erase("ć");
  CHECK_THAT(refusal(file), contains("has no token 'ć' for byte 0x07"));
  std::string twice = test::small_tokenizer_json().dump();
  twice.insert(twice.find("\"a\":97"), "\"a\":300,");
  CHECK_THAT(refusal(twice), contains("token 'a' stands twice"));
}

TEST_CASE("merges without sense are refused", "[data][tokenizer]") {
  CHECK_THAT(refusal(with("/model/merges/0", json::array({"h", "日"}))),
             contains("model.merges: merge 0 of 'h' and '日': '日' is not in model.vocab"));
  CHECK_THAT(refusal(with("/model/merges/0", "h x")), contains("'hx' is not in model.vocab"));
  for (const json& merge : {json("he"), json("h e l"), json::array({"h"}), json::array({"h", 1}), json(7)}) {
    CHECK_THAT(refusal(with("/model/merges/0", merge)), contains("merge 0 is neither"));
  }
}

TEST_CASE("added tokens without sense are refused", "[data][tokenizer]") {
  const auto added = [](const std::vector<json>& tokens) { return refusal(with("/added_tokens", tokens)); };
  const auto token = [](int id, const std::string& content) {
    return json{{"id", id}, {"content", content}};
  };
  CHECK(added({token(257, "<a>")}) == "accepted");
  CHECK_THAT(added({token(257, "")}), contains("added_tokens[0]: 'content' is empty"));
  CHECK_THAT(added({token(-1, "<a>")}), contains("token '<a>' has the negative id -1"));
  CHECK_THAT(added({token(5, "<a>")}), contains("'<a>' has id 5, but the next free id is 257"));
  CHECK_THAT(added({token(300, "<a>")}), contains("'<a>' has id 300, but the next free id is 257"));
  CHECK_THAT(added({token(257, "<a>"), token(257, "<b>")}),
             contains("added_tokens[1]: '<b>' has id 257, but the next free id is 258"));
  CHECK_THAT(added({token(257, "a")}), contains("'a' has id 257, but model.vocab gives it 97"));
  CHECK_THAT(added({token(257, "<a>"), token(258, "<a>")}), contains("'<a>' is listed twice"));
  CHECK_THAT(added({json{{"content", "<a>"}}}), contains("'id' is missing"));
  CHECK_THAT(added({json{{"id", "7"}, {"content", "<a>"}}}),
             contains("added_tokens[0].id: must be a whole number"));
  CHECK_THAT(added({json{{"id", 257}, {"content", "<a>"}, {"special", 1}}}),
             contains("added_tokens[0].special: must be true or false, is a number"));
}

TEST_CASE("tokenizer_config.json names the special tokens", "[data][tokenizer]") {
  const test::TemporaryFolder folder;
  TokenizerConfig config = TokenizerConfig::load(folder.path());
  CHECK_FALSE(config.eos_token.has_value());
  CHECK_FALSE(config.has_chat_template);

  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": null, "eos_token": "<|im_end|>", "pad_token": {"content": "<pad>"}, "chat_template": "{{x}}"})";
  config = TokenizerConfig::load(folder.path());
  CHECK_FALSE(config.bos_token.has_value());
  CHECK(config.eos_token == "<|im_end|>");
  CHECK(config.pad_token == "<pad>");
  CHECK(config.has_chat_template);

  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": 7})";
  CHECK_THROWS_WITH(TokenizerConfig::load(folder.path()),
                    contains("tokenizer_config.json: eos_token: must be a text, is a number"));
  CHECK_THROWS_AS(TokenizerConfig::load(folder.path()), InputError);

  // As transformers writes it where there is no limit: more than 64 bits.
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"model_max_length": 1000000000000000019884624838656, "eos_token": "</s>"})";
  CHECK(TokenizerConfig::load(folder.path()).eos_token == "</s>");

  std::ofstream(folder / "tokenizer_config.json")
      << R"({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})";
  CHECK(TokenizerConfig::load(folder.path()).around.value().before == "<s>");
  CHECK(TokenizerConfig::load(folder.path()).around.value().after.empty());
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": true})";
  CHECK_FALSE(TokenizerConfig::load(folder.path()).around.has_value());

  std::ofstream(folder / "tokenizer_config.json") << "{}";
  std::ofstream(folder / "chat_template.jinja") << "{{x}}";
  CHECK(TokenizerConfig::load(folder.path()).has_chat_template);
}

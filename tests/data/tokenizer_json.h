#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/support/temporary_folder.h"

namespace moebius::test {

/// A tokenizer.json to be bent by each test: byte b has id b, merges make the ids from 256 on, in their
/// order.
inline nlohmann::json small_tokenizer_json(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  nlohmann::json vocab = nlohmann::json::object(), pairs = nlohmann::json::array();
  for (int byte = 0; byte < 256; ++byte) vocab[data::letter_of(static_cast<unsigned char>(byte))] = byte;
  for (const auto& [left, right] : merges) {
    vocab[left + right] = 256 + pairs.size();
    pairs.push_back({left, right});
  }
  return {{"version", "1.0"},
          {"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", pairs}}}};
}

/// Adds a token behind all others, with `flags` such as {{"lstrip", true}}, and returns its id.
inline int add_token(nlohmann::json& tokenizer, const std::string& content,
                     const nlohmann::json& flags = nlohmann::json::object()) {
  const int id = int(tokenizer["model"]["vocab"].size() + tokenizer["added_tokens"].size());
  nlohmann::json token = {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
  token.update(flags);
  tokenizer["added_tokens"].push_back(token);
  return id;
}

inline nlohmann::json split_step(const nlohmann::json& pattern, const std::string& behavior,
                                 bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

/// `steps`, then the byte level without a pattern of its own.
inline nlohmann::json sequence_of(nlohmann::json steps) {
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

inline data::Tokenizer load(const std::string& text) {
  const TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json") << text;
  return data::Tokenizer::load(folder.path());
}
inline data::Tokenizer load(const nlohmann::json& tokenizer) {
  return load(tokenizer.dump());
}

/// The ids of plain bytes.
inline std::vector<std::int32_t> byte_ids(std::string_view bytes) {
  std::vector<std::int32_t> ids;
  for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

}  // namespace moebius::test

#include "data/tokenizer/config.h"

#include "data/tokenizer/json_file.h"

namespace moebius::data {
namespace {

/// A token stands as "text" or as an AddedToken object {"content": "text", ...}.
std::optional<std::string> token(const JsonValue& config, std::string_view key) {
  const auto value = config.find(key);
  if (!value) return std::nullopt;
  return std::string(value->is_text() ? value->text() : value->at("content").text());
}

}  // namespace

TokenizerConfig TokenizerConfig::load(const std::filesystem::path& folder) {
  TokenizerConfig config;
  config.has_chat_template = std::filesystem::exists(folder / "chat_template.jinja");
  const std::filesystem::path path = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return config;

  const JsonFile file(path);
  const JsonValue root = file.root();
  config.bos_token = token(root, "bos_token");
  config.eos_token = token(root, "eos_token");
  config.pad_token = token(root, "pad_token");
  config.has_chat_template = config.has_chat_template || root.find("chat_template").has_value();
  return config;
}

}  // namespace moebius::data

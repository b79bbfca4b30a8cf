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

/// LlamaTokenizer and LlamaTokenizerFast put bos and eos where add_bos_token and add_eos_token say so.
std::optional<TextAround> around(const JsonValue& root) {
  const auto name = root.find("tokenizer_class");
  if (!name || !name->is_text() || !name->text().starts_with("LlamaTokenizer")) return std::nullopt;
  TextAround around;
  if (root.flag_or("add_bos_token", true)) around.before = token(root, "bos_token").value_or("");
  if (root.flag_or("add_eos_token", false)) around.after = token(root, "eos_token").value_or("");
  return around;
}

TokenizerConfig read(const JsonFile& file) {
  const JsonValue root = file.root();
  return {.bos_token = token(root, "bos_token"),
          .eos_token = token(root, "eos_token"),
          .pad_token = token(root, "pad_token"),
          .around = around(root),
          .has_chat_template = root.find("chat_template").has_value()};
}

}  // namespace

TokenizerConfig TokenizerConfig::load(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  TokenizerConfig config = std::filesystem::exists(path) ? read(JsonFile(path)) : TokenizerConfig{};
  config.has_chat_template =
      config.has_chat_template || std::filesystem::exists(folder / "chat_template.jinja");
  return config;
}

TokenizerConfig TokenizerConfig::from_text(const std::string& name, std::string_view text) {
  return text.empty() ? TokenizerConfig{} : read(JsonFile(name, text));
}

}  // namespace moebius::data

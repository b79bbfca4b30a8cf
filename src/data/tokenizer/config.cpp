#include "data/tokenizer/config.h"

#include <cstdint>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/error.h"
#include "base/file.h"

namespace moebius::data {
namespace {

using nlohmann::json;

constexpr std::int64_t kLongestConfig = std::int64_t{1} << 26;

/// A token stands as "text" or as an AddedToken object {"content": "text", ...}.
std::optional<std::string> token(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return std::nullopt;
  const json& value = found->is_object() && found->contains("content") ? found->at("content") : *found;
  if (!value.is_string()) {
    throw std::invalid_argument(fmt::format("{}: must be a text, is a {}", key, value.type_name()));
  }
  return value.get<std::string>();
}

bool flag(const json& config, const char* key, bool otherwise) {
  if (!config.contains(key) || config.at(key).is_null()) return otherwise;
  const json& value = config.at(key);
  if (!value.is_boolean()) throw std::invalid_argument(fmt::format("{}: must be true or false", key));
  return value.get<bool>();
}

/// LlamaTokenizer and LlamaTokenizerFast put bos and eos where add_bos_token and add_eos_token say so.
std::optional<TextAround> around_by_class(const json& config) {
  const auto name = config.find("tokenizer_class");
  const bool is_llama = name != config.end() && name->is_string() &&
                        name->get_ref<const std::string&>().starts_with("LlamaTokenizer");
  if (!is_llama) return std::nullopt;
  TextAround around;
  if (flag(config, "add_bos_token", true)) around.before = token(config, "bos_token").value_or("");
  if (flag(config, "add_eos_token", false)) around.after = token(config, "eos_token").value_or("");
  return around;
}

}  // namespace

TokenizerConfig TokenizerConfig::load(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  TokenizerConfig config;
  if (std::filesystem::exists(path)) config = from_text(path.string(), read_file(path, kLongestConfig));
  config.has_chat_template =
      config.has_chat_template || std::filesystem::exists(folder / "chat_template.jinja");
  return config;
}

/// Not with JsonFile: transformers writes model_max_length = 1000000000000000019884624838656 where there is
/// no limit, which simdjson takes for no number.
TokenizerConfig TokenizerConfig::from_text(const std::string& name, std::string_view text) {
  if (text.empty()) return {};
  try {
    const json config = json::parse(text);
    if (!config.is_object()) throw std::invalid_argument("not a JSON object");
    return {.bos_token = token(config, "bos_token"),
            .eos_token = token(config, "eos_token"),
            .pad_token = token(config, "pad_token"),
            .around = around_by_class(config),
            .has_chat_template = config.contains("chat_template") && !config["chat_template"].is_null()};
  } catch (const json::parse_error& error) {
    throw InputError(fmt::format("{}: byte {}: not JSON: {}", name, error.byte, error.what()));
  } catch (const std::invalid_argument& error) {
    throw InputError(fmt::format("{}: {}", name, error.what()));
  }
}

}  // namespace moebius::data

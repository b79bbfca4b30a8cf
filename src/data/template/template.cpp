#include "data/template/template.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace moebius::data {
namespace {

constexpr Template chatml(std::string_view name) {
  return {.name = name,
          .system = "<|im_start|>system\n{{SYSTEM}}<|im_end|>\n",
          .prompt = "<|im_start|>user\n{{QUERY}}<|im_end|>\n<|im_start|>assistant\n",
          .separator = "<|im_end|>\n",
          .suffix = "<|im_end|>\n",
          .stop_word = "<|endoftext|>"};
}

constexpr Template with_system(Template base, std::string_view system) {
  base.default_system = system;
  return base;
}

constexpr Template thinking(Template base, std::string_view prefix, std::string_view prefix_without) {
  base.is_thinking = true;
  base.thinking_prefix = prefix;
  base.non_thinking_prefix = prefix_without;
  return base;
}

constexpr std::array<Template, 4> kTemplates{
    with_system(chatml("qwen2_5"), "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    thinking(chatml("qwen3"), "", "<think>\n\n</think>\n\n"),
    thinking(chatml("qwen3_thinking"), "<think>\n", ""),
    chatml("qwen3_nothinking"),
};

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string_view qwen3_name(const std::string& chat_template) {
  if (chat_template.empty() || has(chat_template, "enable_thinking")) return "qwen3";
  // Qwen3-Coder writes calls as <function=..>, which no template here does.
  if (!has(chat_template, "<|im_start|>") || has(chat_template, "<function=")) return {};
  return has(chat_template, R"(<|im_start|>assistant\n<think>)") ? "qwen3_thinking" : "qwen3_nothinking";
}

std::string_view automatic_name(const ModelText& model) {
  if (model.model_type == "qwen3" || model.model_type == "qwen3_moe") return qwen3_name(model.chat_template);
  const bool is_qwen2_5 = model.chat_template.empty() || has(model.chat_template, "created by Alibaba Cloud");
  return model.model_type == "qwen2" && is_qwen2_5 ? "qwen2_5" : "";
}

nlohmann::json parsed(std::string_view text, std::string_view file) {
  if (text.empty()) return nlohmann::json::object();
  try {
    nlohmann::json value = nlohmann::json::parse(text);
    if (value.is_object()) return value;
  } catch (const nlohmann::json::parse_error& error) {
    throw InputError(fmt::format("{}: {}", file, error.what()));
  }
  throw InputError(fmt::format("{}: not a JSON object", file));
}

/// "chat_template": text, or a list of {"name", "template"} of which "default" counts.
std::string chat_template_of(const nlohmann::json& tokenizer_config) {
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end()) return {};
  if (found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  for (const nlohmann::json& named : *found) {
    const bool has_both = named.is_object() && named.contains("name") && named.contains("template") &&
                          named["template"].is_string();
    if (!found->is_array() || !has_both) {
      throw InputError(
          "tokenizer_config.json: chat_template is neither a text nor a list of {\"name\", \"template\"}");
    }
    if (named["name"] == "default") return named["template"].get<std::string>();
  }
  return {};
}

}  // namespace

std::span<const Template> templates() {
  return kTemplates;
}

const Template* find_template(std::string_view name) {
  const auto* const found = std::find_if(kTemplates.begin(), kTemplates.end(),
                                         [&](const Template& each) { return each.name == name; });
  return found == kTemplates.end() ? nullptr : found;
}

ModelText model_text(std::string_view config, std::string_view tokenizer_config,
                     std::string_view chat_template_file) {
  const nlohmann::json model = parsed(config, "config.json");
  ModelText text;
  const auto type = model.find("model_type");
  if (type != model.end() && type->is_string()) text.model_type = type->get<std::string>();
  text.chat_template = chat_template_file.empty()
                           ? chat_template_of(parsed(tokenizer_config, "tokenizer_config.json"))
                           : std::string(chat_template_file);
  return text;
}

const Template& automatic_template(const ModelText& model) {
  if (const Template* found = find_template(automatic_name(model))) return *found;
  std::vector<std::string> names;
  names.reserve(kTemplates.size());
  for (const Template& each : kTemplates) names.emplace_back(each.name);
  throw UsageError(fmt::format(
      "data.template = \"auto\": no template built here fits the chat template of model_type \"{}\" (built: "
      "{}; name one of them if it is meant)",
      model.model_type, join(names)));
}

}  // namespace moebius::data

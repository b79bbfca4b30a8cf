#include "data/template/automatic.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace moebius::data {
namespace {

/// A model of `family` whose chat template has `with` in it, and not `without`, is written with template
/// `name`. Jinja spells a line end in a quoted text as the two characters \n.
struct Rule {
  std::string_view family, name, with, without;
};

// The first rule that fits counts. Qwen3-Coder writes calls as <function=..>; a chat template whose prompt
// opens <think> is of a model that always thinks.
constexpr std::array<Rule, 18> kRules{{
    {"qwen2", "deepseek_r1", "<｜User｜>", ""},
    {"qwen2", "qwq", "<|im_start|>assistant\\n<think>\\n", ""},
    {"qwen2", "qwen2_5", "created by Alibaba Cloud", "<think>"},
    {"qwen2", "qwen", "You are a helpful assistant", "<think>"},
    {"qwen3", "deepseek_r1", "<｜User｜>", ""},
    {"qwen3", "qwen3", "enable_thinking", ""},
    {"qwen3", "qwen3_coder", "<function=", ""},
    {"qwen3", "qwen3_thinking", "<|im_start|>assistant\\n<think>", ""},
    {"qwen3", "qwen3_nothinking", "<|im_start|>", ""},
    {"llama", "deepseek_r1", "<｜User｜>", ""},
    {"llama", "llama3_2", "Cutting Knowledge Date", ""},
    {"llama", "llama3", "<|start_header_id|>", ""},
    {"deepseek", "deepseek_v3_1", "thinking = false", ""},
    {"deepseek", "deepseek_r1", "<｜Assistant｜><think>\\n", ""},
    {"deepseek", "deepseek_v2_5", "<｜User｜>", ""},
    {"glm4", "glm4", "[gMASK]<sop>", "<arg_key>"},
    {"glm4", "glm4_5", "<|user|>\n", ""},
    {"glm4", "glm4_7", "<|user|>", ""},
}};

/// Of dense models and of mixtures of experts, which a family writes alike.
std::string_view family_of(std::string_view model_type) {
  if (model_type == "deepseek_v2" || model_type == "deepseek_v3") return "deepseek";
  if (model_type.ends_with("_moe")) model_type.remove_suffix(std::string_view("_moe").size());
  return model_type;
}

/// Of a model that comes without chat template: a base model.
std::string_view name_without(std::string_view model_type) {
  if (model_type == "qwen2") return "qwen2_5";
  if (model_type == "qwen3" || model_type == "qwen3_moe") return "qwen3";
  return model_type == "glm4_moe" ? "glm4_5" : "";
}

std::string_view automatic_name(const ModelText& model) {
  const std::string_view written = model.chat_template;
  if (written.empty()) return name_without(model.model_type);
  const auto has = [&](std::string_view part) { return written.find(part) != std::string_view::npos; };
  const auto* const found = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& rule) {
    return rule.family == family_of(model.model_type) && has(rule.with) &&
           (rule.without.empty() || !has(rule.without));
  });
  return found == kRules.end() ? "" : found->name;
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
  for (const Template& each : templates()) names.emplace_back(each.name);
  throw UsageError(fmt::format(
      "data.template = \"auto\": no template built here fits the chat template of model_type \"{}\" (built: "
      "{}; name one of them if it is meant)",
      model.model_type, join(names)));
}

}  // namespace moebius::data

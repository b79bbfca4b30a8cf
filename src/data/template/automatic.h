#pragma once
#include <string>
#include <string_view>

#include "data/template/template.h"

namespace moebius::data {

/// What a model folder says about its way of writing conversations.
struct ModelText {
  std::string model_type;     // of config.json
  std::string chat_template;  // of tokenizer_config.json or chat_template.jinja; empty: none
};

/// From the contents of config.json, tokenizer_config.json and chat_template.jinja (each empty where the file
/// is absent). Throws InputError where one is not JSON.
[[nodiscard]] ModelText model_text(std::string_view config, std::string_view tokenizer_config,
                                   std::string_view chat_template_file);

/// The template of a model, by `auto`'s rule: its family is that of model_type, and what tells the members of
/// a family apart stands in the chat template. Throws UsageError where the chat template is that of no
/// template here.
[[nodiscard]] const Template& automatic_template(const ModelText& model);

}  // namespace moebius::data

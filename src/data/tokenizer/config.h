#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "data/tokenizer/around.h"

namespace moebius::data {

/// What moebius reads of a model folder's tokenizer_config.json.
struct TokenizerConfig {
  std::optional<std::string> bos_token, eos_token, pad_token;
  std::optional<TextAround> around;  // in place of tokenizer.json's: of a class that is told so by this file
  bool has_chat_template = false;    // in the file, or as chat_template.jinja beside it

  /// A folder without the file gives a config without tokens. Throws InputError where the file is malformed.
  static TokenizerConfig load(const std::filesystem::path& folder);
  /// From the text of the file (empty: none); `name` is what complaints call it.
  static TokenizerConfig from_text(const std::string& name, std::string_view text);
};

}  // namespace moebius::data

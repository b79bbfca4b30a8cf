#include "commands/language.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace moebius::commands {
namespace {

std::string file_or_empty(const models::ModelFiles& files, const std::string& name) {
  const auto found = files.find(name);
  return found == files.end() ? "" : found->second;
}

}  // namespace

Language::Language(const models::ModelFiles& files, const std::string& origin, std::int64_t model_vocab)
    : origin_(origin) {
  const std::string settings = file_or_empty(files, "tokenizer_config.json");
  const std::string tokenizer = file_or_empty(files, "tokenizer.json");
  if (!tokenizer.empty())
    tokenizer_.emplace(data::Tokenizer::from_text(origin + "/tokenizer.json", tokenizer));
  if (tokenizer_ && tokenizer_->vocab_size() > model_vocab) {
    throw InputError(
        fmt::format("{}/tokenizer.json: its largest id is {}, but config.json says vocab_size = {}", origin,
                    tokenizer_->vocab_size() - 1, model_vocab));
  }
  text_.tokenizer = tokenizer_ ? &*tokenizer_ : nullptr;
  text_.words = data::tokenizer_words(
      text_.tokenizer, data::TokenizerConfig::from_text(origin + "/tokenizer_config.json", settings));
  text_.model =
      data::model_text(files.at("config.json"), settings, file_or_empty(files, "chat_template.jinja"));
  text_.vocab = model_vocab;
  text_.fingerprint = fingerprint(tokenizer + settings);
}

const data::Tokenizer& Language::tokenizer() const {
  if (tokenizer_) return *tokenizer_;
  throw InputError(origin_ + ": has no tokenizer.json, which this command needs");
}

}  // namespace moebius::commands

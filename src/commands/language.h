#pragma once
#include <optional>

#include "data/data.h"
#include "models/model_files.h"
#include "training/datasets.h"

namespace moebius::commands {

/// The tokenizer and chat template that travel with a model. `text` points into `tokenizer`, so it must stay
/// in place.
class Language {
 public:
  /// `origin` is what complaints call the folder or checkpoint. A model without tokenizer.json has no
  /// tokenizer; what needs one says so then. Throws InputError for files that are there and malformed.
  Language(const models::ModelFiles& files, const std::string& origin, std::int64_t model_vocab);
  Language(const Language&) = delete;
  Language& operator=(const Language&) = delete;

  [[nodiscard]] const training::TextTools& text() const { return text_; }
  /// Throws InputError naming the origin where there is no tokenizer.
  [[nodiscard]] const data::Tokenizer& tokenizer() const;

 private:
  std::string origin_;
  std::optional<data::Tokenizer> tokenizer_;
  training::TextTools text_;
};

}  // namespace moebius::commands

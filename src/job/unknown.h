#pragma once
#include <span>
#include <string>
#include <string_view>

#include "job/schema.h"

/// Messages about names that the job file does not have, with the name that was probably meant.
namespace moebius::job {

/// "unknown section [optmizer] (did you mean [optimizer]?)".
[[nodiscard]] std::string unknown_section_text(const std::string& section);

/// "unknown key 'lr' in [train] (it stands in [optimizer])".
[[nodiscard]] std::string unknown_key_text(const std::string& section, const std::string& name);

/// "'lr' stands outside every section (write it under [optimizer])".
[[nodiscard]] std::string no_section_text(const std::string& name);

/// `model.precision = "fp23" is not one of "auto", "fp32", "bf16" (did you mean "fp32"?)`.
[[nodiscard]] std::string unknown_word_text(const Key& key, const std::string& word);

/// `"auto", "fp32", "bf16"`.
[[nodiscard]] std::string quoted_list(std::span<const std::string_view> words);

/// ` (did you mean "fp32"?)`, or nothing where no word is near.
[[nodiscard]] std::string meant_word_text(std::string_view word, std::span<const std::string_view> words);

}  // namespace moebius::job

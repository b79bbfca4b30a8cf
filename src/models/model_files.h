#pragma once
#include <filesystem>
#include <map>
#include <string>

namespace moebius::models {

/// The small files of a Hugging Face folder that are not weights, by name, byte for byte: config.json,
/// generation_config.json, the tokenizer's files and chat templates. They travel through checkpoints unread
/// and come out of `export` unchanged.
using ModelFiles = std::map<std::string, std::string>;

/// Reads those of the known names that exist in `folder`. Throws InputError where there is no config.json or
/// a file cannot be read.
[[nodiscard]] ModelFiles read_model_files(const std::filesystem::path& folder);

}  // namespace moebius::models

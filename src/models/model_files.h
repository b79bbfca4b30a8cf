#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace moebius::models {

/// The small files of a Hugging Face folder that are not weights, by name, byte for byte: config.json,
/// generation_config.json, the tokenizer's files and chat templates. They travel through checkpoints unread
/// and come out of `export` unchanged.
using ModelFiles = std::map<std::string, std::string>;

/// The settings of an adapter, which a checkpoint of one has among them (hub/adapter_source.h).
inline constexpr const char* kAdapterConfig = "adapter_config.json";

/// Whether a folder without config.json will do: one that only holds a tokenizer.
enum class ConfigFile : std::uint8_t { required, optional };

/// Reads those of the known names that exist in `folder`. Throws InputError where there is no such folder, no
/// config.json although it is required, or a file that cannot be read.
[[nodiscard]] ModelFiles read_model_files(const std::filesystem::path& folder,
                                          ConfigFile config = ConfigFile::required);

}  // namespace moebius::models

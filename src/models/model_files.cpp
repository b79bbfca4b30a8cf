#include "models/model_files.h"

#include <array>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace moebius::models {
namespace {

constexpr std::array kKnownNames{
    "config.json",        "generation_config.json",
    "tokenizer.json",     "tokenizer_config.json",
    "vocab.json",         "merges.txt",
    "added_tokens.json",  "special_tokens_map.json",
    "tokenizer.model",    "chat_template.jinja",
    "chat_template.json",
};

}  // namespace

ModelFiles read_model_files(const std::filesystem::path& folder, ConfigFile config) {
  if (!std::filesystem::is_directory(folder)) throw InputError(folder.string() + ": no such folder");
  ModelFiles files;
  for (const char* name : kKnownNames) {
    const std::filesystem::path path = folder / name;
    if (!std::filesystem::is_regular_file(path)) continue;
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << stream.rdbuf();
    if (!stream) throw InputError(path.string() + ": cannot be read");
    files[name] = bytes.str();
  }
  if (config == ConfigFile::required && !files.contains("config.json")) {
    throw InputError(folder.string() +
                     ": no config.json in this folder; a Hugging Face model folder has one");
  }
  return files;
}

}  // namespace moebius::models

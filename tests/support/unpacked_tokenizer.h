#pragma once
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "tests/support/temporary_folder.h"

namespace moebius::test {

/// Writes a real tokenizer.json of the shared folder to `target`.
inline void unpack_tokenizer(const std::filesystem::path& shared, const std::string& name,
                             const std::filesystem::path& target) {
  const std::string source = (shared / "data/tokenizers" / name / "tokenizer.json.xz").string();
  const std::string command = "xz -dc '" + source + "' > '" + target.string() + "'";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot unpack " + source);
}

/// A real tokenizer of the shared folder, unpacked for the time of the test.
inline data::Tokenizer unpacked_tokenizer(const std::filesystem::path& shared, const std::string& name) {
  const TemporaryFolder folder;
  unpack_tokenizer(shared, name, folder / "tokenizer.json");
  return data::Tokenizer::load(folder / "tokenizer.json");
}

}  // namespace moebius::test

#pragma once
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "tests/support/temporary_folder.h"

namespace moebius::test {

/// A real tokenizer of the shared folder, unpacked for the time of the test.
inline data::Tokenizer unpacked_tokenizer(const std::filesystem::path& shared, const std::string& name) {
  const TemporaryFolder folder;
  const std::filesystem::path target = folder / "tokenizer.json";
  const std::string source = (shared / "data/tokenizers" / name / "tokenizer.json.xz").string();
  const std::string command = "xz -dc '" + source + "' > '" + target.string() + "'";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot unpack " + source);
  return data::Tokenizer::load(target);
}

}  // namespace moebius::test

#include "job/unknown.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "base/text.h"

namespace moebius::job {
namespace {

/// "[checkpoint], [eval]": the sections that have a key of this name.
std::string sections_with(std::string_view name) {
  std::vector<std::string> sections;
  for (const Key& key : schema()) {
    if (key.name() == name) sections.push_back(fmt::format("[{}]", key.section()));
  }
  return join(sections);
}

}  // namespace

std::string unknown_section_text(const std::string& section) {
  const std::vector<std::string> sections = section_names();
  const std::string meant = nearest_spelling(section, sections);
  const std::string owners = sections_with(section);
  std::string cure = fmt::format("the sections are {}", join(sections));
  if (!owners.empty()) cure = fmt::format("{} is a key of {}", section, owners);
  if (!meant.empty()) cure = fmt::format("did you mean [{}]?", meant);
  return fmt::format("unknown section [{}] ({})", section, cure);
}

std::string unknown_key_text(const std::string& section, const std::string& name) {
  std::vector<std::string> names;
  for (const Key& key : schema()) {
    if (key.section() == section) names.emplace_back(key.name());
  }
  if (names.empty()) return unknown_section_text(section);
  const std::string meant = nearest_spelling(name, names);
  const std::string owners = sections_with(name);
  std::string cure = fmt::format("its keys are {}", join(names));
  if (!meant.empty()) cure = fmt::format("did you mean '{}'?", meant);
  if (!owners.empty()) cure = fmt::format("it stands in {}", owners);
  return fmt::format("unknown key '{}' in [{}] ({})", name, section, cure);
}

std::string no_section_text(const std::string& name) {
  const std::string owners = sections_with(name);
  const std::string cure = owners.empty() ? "no section has such a key" : "write it under " + owners;
  return fmt::format("'{}' stands outside every section ({})", name, cure);
}

std::string quoted_list(std::span<const std::string_view> words) {
  std::vector<std::string> quoted;
  for (const std::string_view word : words) quoted.push_back(fmt::format("\"{}\"", word));
  return join(quoted);
}

std::string meant_word_text(std::string_view word, std::span<const std::string_view> words) {
  const std::string meant = nearest_spelling(word, std::vector<std::string>(words.begin(), words.end()));
  return meant.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", meant);
}

std::string unknown_word_text(const Key& key, const std::string& word) {
  const std::string words = quoted_list(key.words);
  if (key.type == Type::duration) {
    return fmt::format("{} = \"{}\" is not understood (use {}{}a duration such as \"11h30m\")", key.path,
                       word, words, words.empty() ? "" : " or ");
  }
  return fmt::format("{} = \"{}\" is not one of {}{}", key.path, word, words,
                     meant_word_text(word, key.words));
}

}  // namespace moebius::job

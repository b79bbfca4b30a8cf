#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "job/job.h"

/// One table of all keys. Parsing, --set, writing, suggestions and "is it away from its default" loop over
/// it.
namespace moebius::job {

/// A setting in the terms of the file. Words and durations are their text; monostate: not given.
using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<double>,
                           std::vector<std::string>, std::map<std::string, std::string>>;

enum class Type : std::uint8_t {
  boolean,
  integer,
  number,    // integers are taken as well
  text,      // any string
  word,      // a string out of Key::words
  duration,  // "11h30m", or a string out of Key::words
  pair,      // a list of two numbers
  texts,     // a list of strings
  mapping,   // a table of strings
};

/// Where numbers may lie; the default allows every finite number.
struct Interval {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool holds_low = true, holds_high = true;
  [[nodiscard]] bool contains(double value) const;
  [[nodiscard]] std::string text() const;  // "at least 1", "above 0", "at least 0 and below 1"
};

/// One key of the file.
struct Key {
  std::string_view path;  // "parallel.expert"; the section stands before the first dot
  Type type;
  std::span<const std::string_view> words;  // the strings allowed (Type::word), or allowed as well (duration)
  Interval bounds;                          // of each number
  std::string_view instead_of;              // the key that this one replaces: only one may be given
  Value (*get)(const Job&);
  void (*set)(Job&, const Value&);  // the value has the key's type and is within bounds

  [[nodiscard]] std::string_view section() const { return path.substr(0, path.find('.')); }
  [[nodiscard]] std::string_view name() const { return path.substr(path.find('.') + 1); }
};

/// All keys in the order of the file.
[[nodiscard]] std::span<const Key> schema();

/// The key of this path, or nullptr.
[[nodiscard]] const Key* find_key(std::string_view path);

/// The sections in the order of the file, each once.
[[nodiscard]] std::vector<std::string> section_names();

/// What the key is where nothing is given. Of an optional section, where the section is there but empty.
[[nodiscard]] Value default_value(const Key& key);

}  // namespace moebius::job

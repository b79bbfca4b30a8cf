#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <simdjson.h>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::data {

/// A value of a JSON file that knows its place, "tokenizer.json: model.merges[3]", so that every complaint
/// can name it. Valid as long as its JsonFile.
class JsonValue {
 public:
  JsonValue(simdjson::dom::element value, std::string file, std::string key)
      : value_(value), file_(std::move(file)), key_(std::move(key)) {}

  [[nodiscard]] std::string place() const;
  /// Throws InputError "<file>: <key>: <problem>".
  [[noreturn]] void refuse(std::string_view problem) const;

  /// The member `key`, or nothing where it is missing or null; `at` refuses its absence.
  [[nodiscard]] std::optional<JsonValue> find(std::string_view key) const;
  [[nodiscard]] JsonValue at(std::string_view key) const;
  [[nodiscard]] std::vector<JsonValue> items() const;

  [[nodiscard]] std::string_view text() const;
  [[nodiscard]] std::int64_t integer() const;
  [[nodiscard]] double number() const;
  [[nodiscard]] bool flag() const;
  [[nodiscard]] bool is_text() const { return value_.is_string(); }
  /// The member `key` as a bool; `otherwise` where it is missing or null.
  [[nodiscard]] bool flag_or(std::string_view key, bool otherwise) const;

  /// For loops over many members, where a place for each would be costly.
  [[nodiscard]] simdjson::dom::object object() const;
  [[nodiscard]] simdjson::dom::array array() const;

 private:
  simdjson::dom::element value_;
  std::string file_, key_;
};

/// A parsed JSON file. Throws InputError where it cannot be read or is not JSON (with the byte offset).
class JsonFile {
 public:
  explicit JsonFile(const std::filesystem::path& path);
  /// The same for a text that is in memory already; `name` is what complaints call it.
  JsonFile(std::string name, std::string_view text);
  [[nodiscard]] JsonValue root() const;

 private:
  void parse(const simdjson::padded_string& bytes);

  std::string path_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace moebius::data

#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moebius::data {

/// A JSON value as a row holds it: keys keep their order and numbers their digits, because tool schemas are
/// written into prompts again, where 1, 1.0 and an integer of thirty digits must stay what they are.
class Json {
 public:
  struct Number {
    std::string text;  // as written: "1", "1.50", "1e5"
    friend bool operator==(const Number&, const Number&) = default;
  };
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // no key twice

  Json() = default;  // null
  explicit Json(bool value) : value_(value) {}
  explicit Json(Number value) : value_(std::move(value)) {}
  explicit Json(std::string value) : value_(std::move(value)) {}
  explicit Json(Array value) : value_(std::move(value)) {}
  explicit Json(Object value) : value_(std::move(value)) {}

  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  /// The value as one kind, or nullptr where it is another.
  template <class Kind>
  [[nodiscard]] const Kind* as() const {
    return std::get_if<Kind>(&value_);
  }
  template <class Kind>
  [[nodiscard]] Kind* as() {
    return std::get_if<Kind>(&value_);
  }
  [[nodiscard]] const std::string* text() const { return as<std::string>(); }
  [[nodiscard]] const Array* array() const { return as<Array>(); }
  [[nodiscard]] const Object* object() const { return as<Object>(); }

  /// The member `key` of an object; nullptr where there is none or this is no object.
  [[nodiscard]] const Json* find(std::string_view key) const;
  [[nodiscard]] Json* find(std::string_view key);

  /// What Python takes as false: null, false, 0, "", [] and {}.
  [[nodiscard]] bool is_empty() const;

  friend bool operator==(const Json&, const Json&);

 private:
  std::variant<std::monostate, bool, Number, std::string, Array, Object> value_;
};

/// The member `key`, or nullptr.
[[nodiscard]] const Json* find_member(const Json::Object& object, std::string_view key);
/// Puts `value` under `key`: in the place of an earlier one, or at the end.
void set_member(Json::Object& object, std::string key, Json value);
/// Removes and returns the member `key`, if there.
std::optional<Json> take_member(Json::Object& object, std::string_view key);

/// True for the text of a JSON number: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
[[nodiscard]] bool is_json_number(std::string_view text);

/// Reads JSON texts one after the other, reusing its buffers: one a thread.
class JsonParser {
 public:
  JsonParser();
  JsonParser(JsonParser&&) noexcept;
  JsonParser& operator=(JsonParser&&) noexcept;
  ~JsonParser();

  /// The value of a whole JSON text, or nothing where it is not JSON (or nested more than 512 deep).
  [[nodiscard]] std::optional<Json> parse(std::string_view text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Why and where `text` is not JSON: byte offset of the fault and a sentence.
struct JsonFault {
  std::size_t offset = 0;
  std::string reason;
};
[[nodiscard]] JsonFault json_fault(std::string_view text);

}  // namespace moebius::data

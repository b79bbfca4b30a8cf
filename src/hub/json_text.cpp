#include "hub/json_text.h"

#include <fmt/format.h>
#include <set>
#include <vector>

#include "base/error.h"

namespace moebius::hub {
namespace {

using nlohmann::json;

/// nlohmann's parser keeps the last of two equal keys; this callback sees both.
class DuplicateKeys {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) {
      keys_.resize(std::size_t(depth) + 1);
      keys_[std::size_t(depth)].clear();
    }
    if (event == json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      const bool is_new = keys_[std::size_t(depth) - 1].insert(key).second;
      if (!is_new && first_.empty()) first_ = key;
    }
    return true;
  }
  [[nodiscard]] const std::string& first() const { return first_; }

 private:
  std::vector<std::set<std::string, std::less<>>> keys_;  // [depth of the object]
  std::string first_;
};

}  // namespace

json parse_json_object(std::string_view text, const std::string& file, std::int64_t first_byte) {
  DuplicateKeys duplicates;
  json value;
  try {
    value = json::parse(text, [&duplicates](int depth, json::parse_event_t event, json& parsed) {
      return duplicates(depth, event, parsed);
    });
  } catch (const json::parse_error& error) {
    std::string reason = error.what();  // "[json.exception...] parse error at line 1, column 5: <reason>"
    const std::size_t colon = reason.find(": ");
    if (colon != std::string::npos) reason.erase(0, colon + 2);
    throw InputError(fmt::format("{}: byte {}: no valid JSON: {}", file,
                                 first_byte + std::int64_t(error.byte) - 1, reason));
  }
  if (!value.is_object()) {
    throw InputError(
        fmt::format("{}: byte {}: expected a JSON object, found {}", file, first_byte, value.type_name()));
  }
  if (!duplicates.first().empty()) {
    throw InputError(fmt::format("{}: the key \"{}\" stands twice in one object", file, duplicates.first()));
  }
  return value;
}

}  // namespace moebius::hub

#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace moebius::hub {

/// The JSON object in `text`, strictly: InputError "<file>: byte 17: ..." for invalid JSON or UTF-8, anything
/// that is not an object, and a key that stands twice in an object. `first_byte` is where the text begins in
/// the file.
[[nodiscard]] nlohmann::json parse_json_object(std::string_view text, const std::string& file,
                                               std::int64_t first_byte = 0);

}  // namespace moebius::hub

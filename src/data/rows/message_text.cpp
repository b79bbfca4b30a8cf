#include "data/rows/message_text.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <utility>

#include "data/rows/json_dump.h"
#include "data/rows/python_literal.h"
#include "data/rows/tools.h"

namespace moebius::data {
namespace {

constexpr std::array<std::pair<std::string_view, Role>, 6> kRoles{{{"system", Role::system},
                                                                   {"user", Role::user},
                                                                   {"assistant", Role::assistant},
                                                                   {"tool_call", Role::tool_call},
                                                                   {"tool_response", Role::tool_result},
                                                                   {"tool", Role::tool_result}}};

std::string text_of_blocks(Json::Array blocks) {
  std::string text;
  for (Json& block : blocks) {
    const Json* type = block.find("type");
    if (type == nullptr || type->text() == nullptr) {
      throw Dropped{DropReason::content_not_text, "a list without {\"type\": \"text\"}"};
    }
    for (const std::string_view medium : {"image", "audio", "video"}) {
      if (type->text()->starts_with(medium)) throw Dropped{DropReason::media, *type->text()};
    }
    const Json* value = block.find("text");
    if (*type->text() != "text" || value == nullptr || value->text() == nullptr) {
      throw Dropped{DropReason::content_not_text, fmt::format("a block of type '{}'", *type->text())};
    }
    text += *value->text();
  }
  return text;
}

Role role_of(const Json* role) {
  if (role == nullptr || role->text() == nullptr) {
    throw Dropped{DropReason::malformed_messages, "a message without a role"};
  }
  for (const auto& [name, known] : kRoles) {
    if (*role->text() == name) return known;
  }
  throw Dropped{DropReason::unknown_role, fmt::format("'{}'", *role->text())};
}

std::optional<double> weight_of(const Json* value) {
  if (value == nullptr || value->is_null()) return std::nullopt;
  const auto* number = value->as<Json::Number>();
  const double weight = number == nullptr ? std::nan("") : std::strtod(number->text.c_str(), nullptr);
  if (!std::isfinite(weight)) throw Dropped{DropReason::malformed_flags, "loss_scale is no number"};
  return weight;
}

}  // namespace

std::string text_of(Json content) {
  if (content.is_null()) throw Dropped{DropReason::null_content, {}};
  if (auto* text = content.as<std::string>()) return std::move(*text);
  if (auto* number = content.as<Json::Number>()) return std::move(number->text);
  if (auto* blocks = content.as<Json::Array>()) return text_of_blocks(std::move(*blocks));
  throw Dropped{DropReason::content_not_text, content.object() != nullptr ? "an object" : "true or false"};
}

Message message_of(Json::Object fields, JsonParser& parser) {
  Message message{.role = role_of(find_member(fields, "role"))};
  message.loss = switch_of(find_member(fields, "loss"));
  message.loss_scale = weight_of(find_member(fields, "loss_scale"));
  std::optional<Json> content = take_member(fields, "content");
  if (!content || content->is_null()) throw Dropped{DropReason::null_content, {}};
  if (message.role == Role::tool_call) {
    message.call = tool_call_of(*content, parser);
  } else if (message.role == Role::tool_result && content->text() == nullptr) {
    message.content = json_dump(*content);
  } else {
    message.content = text_of(std::move(*content));
  }
  return message;
}

std::optional<bool> switch_of(const Json* value) {
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->as<bool>() == nullptr && value->as<Json::Number>() == nullptr) {
    throw Dropped{DropReason::malformed_flags, "neither true nor false"};
  }
  return !value->is_empty();
}

std::optional<Json> loose_value(const std::string& text, JsonParser& parser) {
  std::optional<Json> value = parser.parse(text);
  return value ? std::move(value) : python_literal(text);
}

}  // namespace moebius::data

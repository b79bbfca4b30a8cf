#include "data/rows/token_row.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

namespace moebius::data {
namespace {

const Json::Array& list(const Json::Object& columns, const char* name) {
  const Json* value = find_member(columns, name);
  if (value == nullptr || value->array() == nullptr) {
    throw Dropped{DropReason::malformed_tokens, std::string(name) + " is no list"};
  }
  return *value->array();
}

std::vector<std::int32_t> integers(const Json::Object& columns, const char* name, std::int32_t lowest) {
  std::vector<std::int32_t> values;
  const Json::Array& items = list(columns, name);
  values.reserve(items.size());
  for (const Json& item : items) {
    const auto* number = item.as<Json::Number>();
    std::int32_t value = lowest - 1;
    if (number != nullptr) {
      const char* end = number->text.data() + number->text.size();
      const auto read = std::from_chars(number->text.data(), end, value);
      if (read.ptr != end || read.ec != std::errc{}) value = lowest - 1;
    }
    if (value < lowest || (value < 0 && value != -100)) {
      throw Dropped{DropReason::malformed_tokens, std::string(name) + " holds what is no token id"};
    }
    values.push_back(value);
  }
  return values;
}

std::vector<float> weights(const Json::Object& columns) {
  std::vector<float> values;
  for (const Json& item : list(columns, "loss_scale")) {
    const auto* number = item.as<Json::Number>();
    const double value = number == nullptr ? std::nan("") : std::strtod(number->text.c_str(), nullptr);
    if (!std::isfinite(value)) throw Dropped{DropReason::malformed_tokens, "loss_scale holds no number"};
    values.push_back(float(value));
  }
  return values;
}

}  // namespace

TokenRow token_row(const Json::Object& columns) {
  TokenRow row{.input_ids = integers(columns, "input_ids", 0), .labels = integers(columns, "labels", -100)};
  const Json* scale = find_member(columns, "loss_scale");
  const bool is_weighted = scale != nullptr && !scale->is_null();
  if (is_weighted) row.loss_scale = weights(columns);
  const std::size_t tokens = row.input_ids.size();
  if (tokens == 0) throw Dropped{DropReason::malformed_tokens, "input_ids is empty"};
  if (row.labels.size() != tokens || (is_weighted && row.loss_scale.size() != tokens)) {
    throw Dropped{DropReason::malformed_tokens, "lists of different lengths"};
  }
  return row;
}

}  // namespace moebius::data

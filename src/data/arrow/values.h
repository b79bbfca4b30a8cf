#pragma once
#include <arrow/array.h>
#include <cstdint>
#include <stdexcept>

#include "data/rows/json.h"

namespace moebius::data {

/// Thrown for text that is not UTF-8.
struct NotUtf8 : std::runtime_error {
  NotUtf8() : std::runtime_error("not UTF-8") {}
};

/// Whether values of the type have a JSON value: null, booleans, numbers, text, lists, and structs and maps
/// of them. Bytes count as text, because writers leave out the mark that tells them apart.
[[nodiscard]] bool is_readable(const arrow::DataType& type);

/// Value `index` of an array of a readable type. Numbers get the text that Python prints; NaN and infinities
/// are null; members of structs that are null are left out. Throws NotUtf8.
[[nodiscard]] Json value_at(const arrow::Array& array, std::int64_t index);

}  // namespace moebius::data

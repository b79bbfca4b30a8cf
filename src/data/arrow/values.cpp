#include "data/arrow/values.h"

#include <algorithm>
#include <arrow/extension_type.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>
#include <cmath>
#include <fmt/format.h>
#include <string>
#include <string_view>

#include "data/rows/json_dump.h"
#include "data/tokenizer/unicode.h"

namespace moebius::data {
namespace {

using arrow::Type;

template <class ArrayType>
const ArrayType& as(const arrow::Array& array) {
  return static_cast<const ArrayType&>(array);
}

template <class ArrayType>
Json integer(const arrow::Array& array, std::int64_t index) {
  return Json(Json::Number{fmt::format("{}", as<ArrayType>(array).Value(index))});
}

Json real(double value) {
  return std::isfinite(value) ? Json(Json::Number{python_float(value)}) : Json();
}

template <class ArrayType>
Json text(const arrow::Array& array, std::int64_t index) {
  const std::string_view bytes = as<ArrayType>(array).GetView(index);
  if (!is_valid_utf8(bytes)) throw NotUtf8();
  return Json(std::string(bytes));
}

template <class ArrayType>
Json decimal(const arrow::Array& array, std::int64_t index) {
  return Json(Json::Number{as<ArrayType>(array).FormatValue(index)});
}

Json list(const arrow::Array& values, std::int64_t begin, std::int64_t length) {
  Json::Array items;
  items.reserve(std::size_t(length));
  for (std::int64_t i = begin; i < begin + length; ++i) items.push_back(value_at(values, i));
  return Json(std::move(items));
}

template <class ArrayType>
Json list_of(const arrow::Array& array, std::int64_t index) {
  const auto& lists = as<ArrayType>(array);
  return list(*lists.values(), lists.value_offset(index), lists.value_length(index));
}

Json object(const arrow::StructArray& structs, std::int64_t index) {
  Json::Object members;
  const arrow::StructType& type = *structs.struct_type();
  for (int field = 0; field < type.num_fields(); ++field) {
    Json value = value_at(*structs.field(field), index);
    if (!value.is_null()) set_member(members, type.field(field)->name(), std::move(value));
  }
  return Json(std::move(members));
}

Json map(const arrow::MapArray& maps, std::int64_t index) {
  Json::Object members;
  const std::int64_t begin = maps.value_offset(index), end = begin + maps.value_length(index);
  for (std::int64_t i = begin; i < end; ++i) {
    Json value = value_at(*maps.items(), i);
    const Json key = value_at(*maps.keys(), i);
    if (!value.is_null()) set_member(members, *key.text(), std::move(value));
  }
  return Json(std::move(members));
}

bool is_text(Type::type id) {
  switch (id) {
    case Type::STRING:
    case Type::LARGE_STRING:
    case Type::STRING_VIEW:
    case Type::BINARY:
    case Type::LARGE_BINARY:
    case Type::BINARY_VIEW: return true;
    default: return false;
  }
}

Json scalar_at(const arrow::Array& array, std::int64_t index) {
  switch (array.type_id()) {
    case Type::BOOL: return Json(as<arrow::BooleanArray>(array).Value(index));
    case Type::INT8: return integer<arrow::Int8Array>(array, index);
    case Type::INT16: return integer<arrow::Int16Array>(array, index);
    case Type::INT32: return integer<arrow::Int32Array>(array, index);
    case Type::INT64: return integer<arrow::Int64Array>(array, index);
    case Type::UINT8: return integer<arrow::UInt8Array>(array, index);
    case Type::UINT16: return integer<arrow::UInt16Array>(array, index);
    case Type::UINT32: return integer<arrow::UInt32Array>(array, index);
    case Type::UINT64: return integer<arrow::UInt64Array>(array, index);
    case Type::FLOAT: return real(as<arrow::FloatArray>(array).Value(index));
    case Type::DOUBLE: return real(as<arrow::DoubleArray>(array).Value(index));
    case Type::DECIMAL128: return decimal<arrow::Decimal128Array>(array, index);
    case Type::DECIMAL256: return decimal<arrow::Decimal256Array>(array, index);
    case Type::STRING: return text<arrow::StringArray>(array, index);
    case Type::LARGE_STRING: return text<arrow::LargeStringArray>(array, index);
    case Type::STRING_VIEW: return text<arrow::StringViewArray>(array, index);
    case Type::BINARY: return text<arrow::BinaryArray>(array, index);
    case Type::LARGE_BINARY: return text<arrow::LargeBinaryArray>(array, index);
    case Type::BINARY_VIEW: return text<arrow::BinaryViewArray>(array, index);
    default: return {};
  }
}

bool is_readable_scalar(Type::type id) {
  switch (id) {
    case Type::NA:
    case Type::BOOL:
    case Type::INT8:
    case Type::INT16:
    case Type::INT32:
    case Type::INT64:
    case Type::UINT8:
    case Type::UINT16:
    case Type::UINT32:
    case Type::UINT64:
    case Type::FLOAT:
    case Type::DOUBLE:
    case Type::DECIMAL128:
    case Type::DECIMAL256: return true;
    default: return is_text(id);
  }
}

}  // namespace

bool is_readable(const arrow::DataType& type) {
  switch (type.id()) {
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::FIXED_SIZE_LIST:
    case Type::STRUCT:
      return std::all_of(type.fields().begin(), type.fields().end(),
                         [](const auto& field) { return is_readable(*field->type()); });
    case Type::MAP: {
      const auto& map = static_cast<const arrow::MapType&>(type);
      return is_text(map.key_type()->id()) && is_readable(*map.item_type());
    }
    case Type::DICTIONARY: return is_readable(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case Type::EXTENSION: return is_readable(*static_cast<const arrow::ExtensionType&>(type).storage_type());
    default: return is_readable_scalar(type.id());
  }
}

Json value_at(const arrow::Array& array, std::int64_t index) {
  if (array.IsNull(index)) return {};
  switch (array.type_id()) {
    case Type::LIST: return list_of<arrow::ListArray>(array, index);
    case Type::LARGE_LIST: return list_of<arrow::LargeListArray>(array, index);
    case Type::FIXED_SIZE_LIST: return list_of<arrow::FixedSizeListArray>(array, index);
    case Type::STRUCT: return object(as<arrow::StructArray>(array), index);
    case Type::MAP: return map(as<arrow::MapArray>(array), index);
    case Type::DICTIONARY: {
      const auto& encoded = as<arrow::DictionaryArray>(array);
      return value_at(*encoded.dictionary(), encoded.GetValueIndex(index));
    }
    case Type::EXTENSION: return value_at(*as<arrow::ExtensionArray>(array).storage(), index);
    default: return scalar_at(array, index);
  }
}

}  // namespace moebius::data

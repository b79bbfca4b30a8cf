#include "data/rows/columns.h"

#include <algorithm>

namespace moebius::data {
namespace {

bool same_but_for_case(std::string_view name, std::string_view lower) {
  return std::equal(name.begin(), name.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? char(a - 'A' + 'a') : a) == b; });
}

/// The new name of a column, or "".
std::string_view new_name(std::string_view column, std::span<const ColumnName> names) {
  for (const auto& [from, to] : names) {
    if (same_but_for_case(column, from)) return to;
  }
  return {};
}

std::ptrdiff_t columns_of_new_name(const Json::Object& columns, std::span<const ColumnName> names,
                                   std::string_view name) {
  return std::count_if(columns.begin(), columns.end(),
                       [&](const Json::Member& column) { return new_name(column.first, names) == name; });
}

}  // namespace

void rename_columns(Json::Object& columns, std::span<const ColumnName> names) {
  std::vector<std::string_view> renamed(columns.size());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::string_view name = new_name(columns[i].first, names);
    if (!name.empty() && columns_of_new_name(columns, names, name) == 1) renamed[i] = name;
  }
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!renamed[i].empty()) columns[i].first = renamed[i];
  }
}

bool columns_clash(const Json::Object& columns, std::span<const ColumnName> names) {
  return std::any_of(columns.begin(), columns.end(), [&](const Json::Member& column) {
    const std::string_view name = new_name(column.first, names);
    if (name.empty()) return false;
    const bool is_taken = std::any_of(columns.begin(), columns.end(), [&](const Json::Member& other) {
      return other.first == name && &other != &column && new_name(other.first, names).empty();
    });
    return is_taken || columns_of_new_name(columns, names, name) > 1;
  });
}

bool has_value(const Json::Object& columns, std::string_view name) {
  const Json* value = find_member(columns, name);
  return value != nullptr && !value->is_null();
}

Json take_column(Json::Object& columns, std::string_view name) {
  return take_member(columns, name).value_or(Json());
}

}  // namespace moebius::data

#pragma once
#include <span>
#include <string_view>
#include <utility>

#include "data/rows/json.h"

namespace moebius::data {

/// A column's other name, in lower case, and the name it gets.
using ColumnName = std::pair<std::string_view, std::string_view>;

/// Renames the columns of a row that `names` lists, without regard to case. Where two present columns would
/// get one name, neither is renamed, so an exact name wins.
void rename_columns(Json::Object& columns, std::span<const ColumnName> names);

/// True if some columns of `names` clash in the way above, or one gets the name of another that is present.
[[nodiscard]] bool columns_clash(const Json::Object& columns, std::span<const ColumnName> names);

/// True if the row has the column and it is not null.
[[nodiscard]] bool has_value(const Json::Object& columns, std::string_view name);

/// Removes and returns a column; null where there is none.
[[nodiscard]] Json take_column(Json::Object& columns, std::string_view name);

}  // namespace moebius::data

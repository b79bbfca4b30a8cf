#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::data {

/// CSV as RFC 4180 writes it and pandas reads it: fields between commas, "..." around a field that holds
/// commas, line ends or (doubled) quotes, records ended by \n, \r\n or \r.

/// One record of `text`: its extent without the line end, and where the next one begins.
struct CsvRecord {
  std::size_t begin = 0, end = 0, next = 0;
  bool is_closed = true;  // false: the text ends inside a quoted field
};
[[nodiscard]] CsvRecord csv_record(std::string_view text, std::size_t begin);

/// The fields of one record, quotes removed.
[[nodiscard]] std::vector<std::string> csv_fields(std::string_view record);

}  // namespace moebius::data

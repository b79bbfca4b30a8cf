#include "data/rows/csv.h"

namespace moebius::data {
namespace {

/// Past the closing quote of the quoted field that begins at `at`; npos where there is none.
std::size_t after_quoted(std::string_view text, std::size_t at) {
  ++at;
  while (true) {
    at = text.find('"', at);
    if (at == std::string_view::npos) return at;
    if (at + 1 >= text.size() || text[at + 1] != '"') return at + 1;
    at += 2;
  }
}

}  // namespace

CsvRecord csv_record(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  while (true) {
    if (at < text.size() && text[at] == '"') at = after_quoted(text, at);
    if (at == std::string_view::npos) return {begin, text.size(), text.size(), false};
    at = text.find_first_of(",\r\n", at);
    if (at == std::string_view::npos) return {begin, text.size(), text.size()};
    if (text[at] != ',') break;
    ++at;
  }
  const bool is_pair = text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n';
  return {begin, at, at + (is_pair ? 2 : 1)};
}

std::vector<std::string> csv_fields(std::string_view record) {
  std::vector<std::string> fields;
  std::size_t at = 0;
  while (true) {
    std::string field;
    if (at < record.size() && record[at] == '"') {
      const std::size_t after = after_quoted(record, at);
      const std::string_view inside = record.substr(at + 1, after - at - 2);
      for (std::size_t i = 0; i < inside.size(); ++i) {
        field += inside[i];
        if (inside[i] == '"') ++i;
      }
      at = after;
    }
    const std::size_t comma = record.find(',', at);
    field += record.substr(at, comma == std::string_view::npos ? comma : comma - at);
    fields.push_back(std::move(field));
    if (comma == std::string_view::npos) return fields;
    at = comma + 1;
  }
}

}  // namespace moebius::data

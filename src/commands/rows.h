#pragma once
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "commands/session.h"

namespace moebius::commands {

/// The lines of a file, or of stdin where `path` is empty, the same on all ranks; blank lines are left out.
/// Collective.
struct InputLine {
  std::string text;
  std::string place;  // "rows.jsonl:3"
};
[[nodiscard]] std::vector<InputLine> read_lines(const std::string& path, Session& session);

/// The list of token ids under `key` of a row of JSON. Throws InputError with the line's place for anything
/// else, and for ids outside 0 .. vocab-1.
[[nodiscard]] std::vector<std::int32_t> ids_of(const InputLine& line, const std::string& key,
                                               std::int64_t vocab);
/// The text under `key`, likewise.
[[nodiscard]] std::string text_of(const InputLine& line, const std::string& key);

/// "abc" -> "\"abc\"", as JSON.
[[nodiscard]] std::string json_quoted(const std::string& text);

/// Rows of output that the ranks made, written in the order of their numbers by rank 0, to a file or to
/// stdout. All calls are collective.
class RowOutput {
 public:
  using Row = std::pair<std::int64_t, std::string>;  // number, line without its end

  /// Throws AgreedError (ClusterError's code) where the file cannot be made.
  RowOutput(const std::string& path, Session& session);
  RowOutput(const RowOutput&) = delete;
  RowOutput& operator=(const RowOutput&) = delete;
  ~RowOutput();
  /// Rows of all ranks, all of them behind those written before.
  void write(const std::vector<Row>& rows);

 private:
  std::string name_;
  Session& session_;
  std::FILE* file_ = nullptr;  // rank 0
};

}  // namespace moebius::commands

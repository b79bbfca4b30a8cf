#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::data {

/// Why a row is left out. Closed, so that every row is counted under one of these.
enum class DropReason : std::uint8_t {
  too_long,            // longer than max_length with truncation = "delete"
  no_messages,         // no text at all, or only a system message
  malformed_messages,  // "messages" is no list of objects with a role and a content
  unknown_role,
  null_content,
  content_not_text,
  media,                // images, audio, video or objects
  late_system,          // a system message that is not the first message
  stray_tool_result,    // it follows neither a call nor a user, or a user follows it
  malformed_tool_call,  // not JSON, no name or no arguments
  malformed_tools,
  malformed_history,
  malformed_flags,     // "loss", "loss_scale" or "chat_template_kwargs" of the wrong kind
  malformed_rejected,  // "rejected_response" null, equal to the response, or of the wrong kind
  no_rejected,         // pairs are wanted, and the row has one answer
  malformed_tokens,    // "input_ids", "labels", "loss_scale": not numbers, or not one a token
  token_outside_vocabulary,
  clashing_columns,    // [data.columns] gives two columns of the row one name
  no_agent_template,   // tools, calls or results, with a template that has no way to write them
  system_not_written,  // a system text, with a template that has no place for one
  count_of_reasons
};
constexpr std::size_t kDropReasons = std::size_t(DropReason::count_of_reasons);

/// A sentence for people: "longer than max_length".
[[nodiscard]] std::string_view reason_text(DropReason reason);

/// A row that is left out.
struct Dropped {
  DropReason reason = DropReason::no_messages;
  std::string detail;  // what was found, or empty

  /// "unknown role: 'narrator'".
  [[nodiscard]] std::string text() const;
};

/// Rows left out, by reason, with the first place of each. Adding in any order gives the same answer, so that
/// threads and ranks may count their own and add up.
struct DropCounts {
  struct Tally {
    std::int64_t count = 0;
    std::int64_t file = 0, row = 0;  // of the first: index of the file, number of the row in it (from 1)
    friend bool operator==(const Tally&, const Tally&) = default;
  };
  std::array<Tally, kDropReasons> tallies{};

  void add(DropReason reason, std::int64_t file, std::int64_t row);
  void add(const DropCounts& other);
  [[nodiscard]] std::int64_t total() const;
  /// As text, for files and other ranks; from_text reads it back.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] static DropCounts from_text(std::string_view text);
  /// One line a reason that occurred: "12 rows left out: longer than max_length (first: a.jsonl:17)".
  [[nodiscard]] std::vector<std::string> lines(const std::vector<std::string>& files) const;
};

}  // namespace moebius::data

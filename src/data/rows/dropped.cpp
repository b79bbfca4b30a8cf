#include "data/rows/dropped.h"

#include <fmt/format.h>
#include <sstream>
#include <tuple>

namespace moebius::data {
namespace {

constexpr std::array<std::string_view, kDropReasons> kTexts{
    "longer than max_length",
    "no messages",
    "messages malformed",
    "unknown role",
    "content is null",
    "content is not text",
    "images, audio, video or objects, which are not built",
    "a system message after the first message",
    "a tool result out of place",
    "tool call malformed",
    "tools malformed",
    "history malformed",
    "loss, loss_scale or chat_template_kwargs malformed",
    "rejected answer malformed or equal to the response",
    "no rejected answer",
    "input_ids, labels or loss_scale malformed",
    "a token id outside of the vocabulary",
    "[data.columns] gives two columns one name",
    "tools that the template cannot write (data.agent_template can name another way)",
    "a system text that the template has no place for",
};

}  // namespace

std::string_view reason_text(DropReason reason) {
  return kTexts[std::size_t(reason)];
}

std::string Dropped::text() const {
  const std::string_view sentence = reason_text(reason);
  return detail.empty() ? std::string(sentence) : fmt::format("{}: {}", sentence, detail);
}

void DropCounts::add(DropReason reason, std::int64_t file, std::int64_t row) {
  DropCounts one;
  one.tallies[std::size_t(reason)] = {1, file, row};
  add(one);
}

void DropCounts::add(const DropCounts& other) {
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    Tally& mine = tallies[i];
    const Tally& theirs = other.tallies[i];
    if (theirs.count == 0) continue;
    const bool earlier = mine.count == 0 || std::tie(theirs.file, theirs.row) < std::tie(mine.file, mine.row);
    if (earlier) mine.file = theirs.file, mine.row = theirs.row;
    mine.count += theirs.count;
  }
}

std::string DropCounts::text() const {
  std::string text;  // "reason count file row" a line
  for (std::size_t reason = 0; reason < kDropReasons; ++reason) {
    const Tally& tally = tallies[reason];
    if (tally.count > 0) text += fmt::format("{} {} {} {}\n", reason, tally.count, tally.file, tally.row);
  }
  return text;
}

DropCounts DropCounts::from_text(std::string_view text) {
  DropCounts counts;
  std::istringstream lines{std::string(text)};
  std::size_t reason = 0;
  Tally tally;
  while (lines >> reason >> tally.count >> tally.file >> tally.row) {
    if (reason < kDropReasons) counts.tallies[reason] = tally;
  }
  return counts;
}

std::int64_t DropCounts::total() const {
  std::int64_t sum = 0;
  for (const Tally& tally : tallies) sum += tally.count;
  return sum;
}

std::vector<std::string> DropCounts::lines(const std::vector<std::string>& files) const {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    const Tally& tally = tallies[i];
    if (tally.count == 0) continue;
    lines.push_back(fmt::format("{} {} left out: {} (first: {}:{})", tally.count,
                                tally.count == 1 ? "row" : "rows", reason_text(DropReason(i)),
                                files.at(std::size_t(tally.file)), tally.row));
  }
  return lines;
}

}  // namespace moebius::data

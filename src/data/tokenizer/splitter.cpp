#include "data/tokenizer/splitter.h"

#include <algorithm>

namespace moebius::data {
namespace {

struct Piece {
  std::size_t begin = 0, end = 0;
  bool is_match = false;
};

/// `text` as matches and the gaps between them, in order, covering it.
std::vector<Piece> pieces_of(std::string_view text, const Pattern& pattern, Pattern::MatchSpace& space) {
  std::vector<Piece> pieces;
  std::size_t begin = 0;
  while (const auto match = pattern.find(text, begin, space)) {
    if (begin < match->begin) pieces.push_back({begin, match->begin, false});
    pieces.push_back({match->begin, match->end, true});
    begin = match->end;
  }
  if (begin < text.size()) pieces.push_back({begin, text.size(), false});
  return pieces;
}

/// Adjacent pieces joined as `matches` says (Hugging Face tokenizers, NormalizedString::split).
void join(std::vector<Piece>& pieces, Matches matches) {
  const auto joins = [matches](bool is_match, bool previous_is_match) {
    return matches == Matches::contiguous ? is_match == previous_is_match : is_match && !previous_is_match;
  };
  std::vector<Piece> joined;
  bool previous_is_match = false;
  for (const Piece& piece : pieces) {
    const bool extends_last = !joined.empty() && joins(piece.is_match, previous_is_match);
    if (extends_last) joined.back().begin = std::min(joined.back().begin, piece.begin);
    if (extends_last) joined.back().end = std::max(joined.back().end, piece.end);
    if (!extends_last) joined.push_back(piece);
    previous_is_match = piece.is_match;
  }
  pieces = std::move(joined);
}

}  // namespace

Splitter::Splitter(const Plan& plan)
    : prefix_space_(plan.prefix_space), steps_before_prefix_(plan.before_prefix.size()) {
  for (const auto* steps : {&plan.before_prefix, &plan.after_prefix}) {
    for (const SplitStep& step : *steps) {
      steps_.push_back({Pattern(step.pattern, step.syntax, step.place), step.matches, step.sense});
    }
  }
}

void Splitter::split(std::string_view text, Pattern::MatchSpace& space, const Take& take) const {
  run(0, text, {.space = space, .take = take});
}

void Splitter::run(std::size_t step, std::string_view text, const Words& words) const {
  const bool needs_prefix = step == steps_before_prefix_ && prefix_space_ == PrefixSpace::added &&
                            !text.empty() && text.front() != ' ';
  if (!needs_prefix) return run_behind_prefix(step, text, words);
  std::string prefixed(1, ' ');
  prefixed += text;
  run_behind_prefix(step, prefixed, words);
}

void Splitter::run_behind_prefix(std::size_t step, std::string_view text, const Words& words) const {
  if (text.empty()) return;
  if (step == steps_.size()) return words.take(text);
  const bool plain = steps_[step].matches == Matches::isolated;
  return plain ? isolate(step, text, words) : regroup(step, text, words);
}

void Splitter::isolate(std::size_t step, std::string_view text, const Words& words) const {
  std::size_t begin = 0;
  while (const auto match = steps_[step].pattern.find(text, begin, words.space)) {
    run(step + 1, text.substr(begin, match->begin - begin), words);
    run(step + 1, text.substr(match->begin, match->end - match->begin), words);
    begin = match->end;
  }
  run(step + 1, text.substr(begin), words);
}

void Splitter::regroup(std::size_t step, std::string_view text, const Words& words) const {
  const auto& [pattern, matches, sense] = steps_[step];
  std::vector<Piece> pieces = pieces_of(text, pattern, words.space);
  if (sense == Sense::gaps) {
    for (Piece& piece : pieces) piece.is_match = !piece.is_match;
  }
  if (matches == Matches::removed) {
    std::erase_if(pieces, [](const Piece& piece) { return piece.is_match; });
  } else if (matches == Matches::merged_with_next) {
    std::reverse(pieces.begin(), pieces.end());
    join(pieces, matches);
    std::reverse(pieces.begin(), pieces.end());
  } else {
    join(pieces, matches);
  }
  for (const Piece& piece : pieces) run(step + 1, text.substr(piece.begin, piece.end - piece.begin), words);
}

}  // namespace moebius::data

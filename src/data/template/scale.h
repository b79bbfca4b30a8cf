#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/template/contexts.h"
#include "data/tokenizer/pattern.h"
#include "job/scale_table.h"

namespace moebius::data {

/// A text of one weight; encoded apart from its neighbours, so its extent decides about tokens too.
struct Piece {
  std::string text;
  double weight = 0;
};

/// One scale of a data.loss_scale chain: which parts of a trained text weigh what. A table of one of two
/// kinds, split as ms-swift splits:
///
///   words      the text is cut at each of them (the first in the table that stands there); the words get one
///              weight, what follows up to the next words another, what precedes the first 1
///   patterns   the text is cut around their matches; then each part, the matches and what lies between, gets
///              the weight of the first pattern that matches at its front, else 1
///
/// and for answers to questions with certain words in them one weight throughout. Immutable.
class Scale {
 public:
  /// Throws InputError where a pattern is no regular expression or may match the empty text.
  Scale(std::string name, job::ScaleTable table);

  [[nodiscard]] const std::string& name() const { return name_; }
  /// All its weights are 0 or 1: weights then only switch tokens on and off.
  [[nodiscard]] bool is_binary() const;
  /// The whole table as text.
  [[nodiscard]] std::string text() const;
  /// `text` in pieces; `question` is what an answer answers, nullptr for other texts.
  [[nodiscard]] std::vector<Piece> split(std::string_view text, const Question* question) const;

 private:
  [[nodiscard]] std::vector<Piece> split_at_words(std::string_view text) const;
  [[nodiscard]] std::vector<Piece> split_at_patterns(std::string_view text) const;
  [[nodiscard]] double weight_at_front(std::string_view part, Pattern::MatchSpace& space) const;

  std::string name_;
  job::ScaleTable table_;
  std::optional<Pattern> any_;     // all patterns, as alternatives
  std::vector<Pattern> patterns_;  // one by one
};

/// The built scales' names: base, ignore_empty_think, ...
[[nodiscard]] std::vector<std::string> scale_names();

/// The built scale of that name, or nullptr.
[[nodiscard]] std::shared_ptr<const Scale> find_scale(std::string_view name);

}  // namespace moebius::data

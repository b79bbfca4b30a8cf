#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/pattern.h"

namespace moebius::data {

/// What becomes of the matches of a split. Of "the-final--countdown" at "-":
enum class Matches : std::uint8_t {
  isolated,              // the|-|final|-|-|countdown
  removed,               // the|final|countdown
  merged_with_previous,  // the-|final-|-|countdown
  merged_with_next,      // the|-final|-|-countdown
  contiguous,            // the|-|final|--|countdown
};

/// Which parts of the text the pattern stands for: what it matches, or what lies between.
enum class Sense : std::uint8_t { matches, gaps };

struct SplitStep {
  std::string pattern;
  Syntax syntax = Syntax::regex;
  Matches matches = Matches::isolated;
  Sense sense = Sense::matches;
  std::string place;  // in the file, for complaints
};

/// Whether every piece gets a space in front where it has none, before the byte level.
enum class PrefixSpace : std::uint8_t { none, added };

/// The pre-tokenizer: cuts text into the words within which merges happen. Immutable.
///
/// The steps run one after the other, each on the pieces of the one before as if they were whole texts (so
/// `(?!\S)` holds at the end of a piece).
class Splitter {
 public:
  struct Plan {
    std::vector<SplitStep> before_prefix;  // Split, Digits
    PrefixSpace prefix_space = PrefixSpace::none;
    std::vector<SplitStep> after_prefix;  // the byte level's own pattern, where it uses one
  };
  /// Throws InputError where a pattern does not compile.
  explicit Splitter(const Plan& plan);

  using Take = std::function<void(std::string_view word)>;
  /// Calls `take` for every word of valid UTF-8, in order. The views are valid during the call only.
  void split(std::string_view text, Pattern::MatchSpace& space, const Take& take) const;

 private:
  struct Step {
    Pattern pattern;
    Matches matches;
    Sense sense;
  };
  struct Words {  // where the words go
    Pattern::MatchSpace& space;
    const Take& take;
  };
  void run(std::size_t step, std::string_view text, const Words& words) const;
  void run_behind_prefix(std::size_t step, std::string_view text, const Words& words) const;
  void isolate(std::size_t step, std::string_view text, const Words& words) const;
  void regroup(std::size_t step, std::string_view text, const Words& words) const;

  std::vector<Step> steps_;
  PrefixSpace prefix_space_;
  std::size_t steps_before_prefix_;
};

}  // namespace moebius::data

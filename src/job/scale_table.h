#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace moebius::job {

/// Weights of parts of an answer, by what is written there: a table of words or one of patterns.
struct ScaleTable {
  struct WordRule {
    std::string text;   // as it stands in the answer
    double weight = 1;  // of these words
    double after = 1;   // of what follows, up to the next words of the table
  };
  struct PatternRule {
    std::string pattern;  // a regular expression; "." matches line ends too
    double weight = 1;    // of what it matches
  };
  struct QuestionRule {
    std::string text;   // somewhere in the question
    double weight = 1;  // of the whole answer to it
  };
  std::vector<WordRule> words;
  std::vector<PatternRule> patterns;
  std::vector<QuestionRule> questions;
};

/// From the text of a TOML file, in the order of the file:
///
///   [[words]]                        or   [[patterns]]                               and   [[questions]]
///   text = "Observation:"                 pattern = '<tool_call>.+?</tool_call>'           text = "Which
///   tool" weight = 2.0                          weight = 2.0                                     weight
///   = 3.0 after = 0.0
///
/// Throws UsageError listing every problem with file:line:column: a key that is unknown, missing or of the
/// wrong kind, an empty text, a weight below 0, words and patterns together, nothing at all.
[[nodiscard]] ScaleTable parse_scale_table(std::string_view text, const std::string& file);

/// The same from a file. Throws InputError where it cannot be read.
[[nodiscard]] ScaleTable read_scale_table(const std::string& file);

}  // namespace moebius::job

#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/encode/encoder.h"
#include "data/tokenizer/tokenizer.h"
#include "job/job.h"

namespace moebius::commands {

/// What `render --html` writes: one page that needs nothing but itself, with the rows as a person looks at
/// them. Tokens that are trained have a colour for their weight; a token's number, id and weight show when it
/// is pointed at. Rows come first in the file, because they are written as they are made; what sums them up
/// is last there and on top of the page.
class RenderPage {
 public:
  /// Without a tokenizer tokens are shown as their ids.
  explicit RenderPage(const data::Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  [[nodiscard]] static std::string head(const job::Job& job);
  /// One row, which is counted. `place` says where it is from; an open row shows its tokens at once.
  enum class Fold : std::uint8_t { closed, open };
  [[nodiscard]] std::string row(const std::string& place, const data::Encoded& encoded, Fold fold);
  /// "weight tokens" a line, of this rank's rows; add_counts adds what another rank counted.
  [[nodiscard]] std::string counts() const;
  void add_counts(const std::string& text);
  /// The end, with the legend, and what was left out: a line each.
  struct Summary {
    std::int64_t shown = 0;             // rows, those left out among them
    std::vector<std::string> left_out;  // sentences
    std::int64_t limit = 0;             // rows of each file
  };
  [[nodiscard]] std::string tail(const Summary& summary) const;

 private:
  static constexpr const char* kUntrained = "-";  // as a weight

  [[nodiscard]] std::string tokens(const data::SampleView& sequence);
  [[nodiscard]] std::size_t group_end(const data::SampleView& sequence, std::size_t begin,
                                      std::string& text) const;
  [[nodiscard]] std::string preview(const data::SampleView& sequence) const;

  const data::Tokenizer* tokenizer_;
  std::map<std::string, std::int64_t> tokens_of_weight_;
};

/// Text for HTML: < > & and quotes as entities; line ends, tabs and what else does not show as marks.
[[nodiscard]] std::string html_text(std::string_view utf8);

}  // namespace moebius::commands

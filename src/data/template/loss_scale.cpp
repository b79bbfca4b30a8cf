#include "data/template/loss_scale.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/error.h"
#include "data/rows/python_text.h"
#include "data/template/contexts.h"

namespace moebius::data {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kChannel = "<|channel>thought\n<channel|>";
constexpr std::string_view kTagged = "</mm:think>";
constexpr std::string_view kBudget =
    "<seed:think><seed:cot_budget_reflect>The current thinking budget is 0, so I will directly start "
    "answering the question.</seed:cot_budget_reflect>\n</seed:think>";

bool is_trained(Strategy strategy, const Context& context) {
  if (context.segment.loss) return *context.segment.loss;
  const bool is_answer = context.kind != ContextKind::other;
  switch (strategy) {
    case Strategy::all: return true;
    case Strategy::last_round: return is_answer && context.is_last_round;
    default: return is_answer;
  }
}

/// Bytes of an empty thought at the front of `text`, white space after it included; 0 where there is none.
std::size_t empty_think(std::string_view text) {
  std::size_t at = 0;
  if (text.starts_with(kOpen)) at = kOpen.size() + space_in_front(text.substr(kOpen.size()));
  if (text.substr(at).starts_with(kClose)) {
    at += kClose.size();
    return at + space_in_front(text.substr(at));
  }
  if (text.starts_with(kChannel)) return kChannel.size();
  for (const std::string_view mark : {kTagged, kBudget}) {
    if (text.starts_with(mark)) return mark.size() + space_in_front(text.substr(mark.size()));
  }
  return 0;
}

class Weigher {
 public:
  explicit Weigher(const LossScale& scale) : scale_(scale) {}

  void add(const Context& context) {
    const Segment& segment = context.segment;
    if (!is_trained(scale_.strategy, context)) return put(segment.text, 0);
    if (segment.loss_scale) return put(segment.text, *segment.loss_scale);
    const std::size_t empty = scale_.ignore_empty_think ? empty_think(segment.text) : 0;
    const std::string_view rest = std::string_view(segment.text).substr(empty);
    put(std::string_view(segment.text).substr(0, empty), 0);
    // What remains is tested again: a second empty thought takes the whole answer with it, in ms-swift too.
    put(rest, empty > 0 && empty_think(rest) > 0 ? 0 : 1);
  }

  std::vector<Piece> take() { return std::move(pieces_); }

 private:
  void put(std::string_view text, double weight) {
    if (text.empty()) return;
    if (pieces_.empty() || pieces_.back().weight != weight) pieces_.push_back({{}, weight});
    pieces_.back().text += text;
  }

  const LossScale& scale_;
  std::vector<Piece> pieces_;
};

bool take_word(std::string_view word, std::vector<std::string_view>& words) {
  if (words.empty() || words.front() != word) return false;
  words.erase(words.begin());
  return true;
}

}  // namespace

LossScale parse_loss_scale(std::string_view name) {
  std::vector<std::string_view> words;
  for (std::string_view rest = name;;) {
    const std::size_t plus = rest.find('+');
    words.push_back(rest.substr(0, plus));
    if (plus == std::string_view::npos) break;
    rest.remove_prefix(plus + 1);
  }
  LossScale scale;
  if (take_word("last_round", words)) {
    scale.strategy = Strategy::last_round;
  } else if (take_word("all", words)) {
    scale.strategy = Strategy::all;
  } else {
    take_word("default", words);
  }
  for (const std::string_view word : words) {
    if (word == "ignore_empty_think") {
      scale.ignore_empty_think = true;
    } else if (word != "base") {
      throw UsageError(fmt::format(
          "data.loss_scale = \"{}\": the scale \"{}\" is not built (built: default, last_round or all, and "
          "with any of them \"+ignore_empty_think\")",
          name, word));
    }
  }
  return scale;
}

std::vector<Piece> weigh(const LossScale& scale, const std::vector<Context>& contexts) {
  Weigher weigher(scale);
  for (const Context& context : contexts) weigher.add(context);
  return weigher.take();
}

}  // namespace moebius::data

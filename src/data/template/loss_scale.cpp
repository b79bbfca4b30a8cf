#include "data/template/loss_scale.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace moebius::data {
namespace {

bool is_trained(Strategy strategy, const Context& context) {
  if (context.segment.loss) return *context.segment.loss;
  const bool is_answer = context.kind != ContextKind::other;
  switch (strategy) {
    case Strategy::all: return true;
    case Strategy::last_round: return is_answer && context.is_last_round;
    default: return is_answer;
  }
}

std::vector<Piece> scaled(const LossScale& scale, const std::string& text, const Question* question) {
  std::vector<Piece> pieces{{text, 1}};
  for (const auto& each : scale.scales) {
    std::vector<Piece> split;
    for (const Piece& piece : pieces) {
      for (Piece& part : each->split(piece.text, question)) {
        part.weight *= piece.weight;
        split.push_back(std::move(part));
      }
    }
    pieces = std::move(split);
  }
  return pieces;
}

std::vector<Piece> weigh(const LossScale& scale, const Context& context, const Question* question) {
  const Segment& segment = context.segment;
  if (!is_trained(scale.strategy, context)) return {{segment.text, 0}};
  if (segment.loss_scale) return {{segment.text, *segment.loss_scale}};
  return scaled(scale, segment.text, question);
}

bool take_word(std::string_view word, std::vector<std::string_view>& words) {
  if (words.empty() || words.front() != word) return false;
  words.erase(words.begin());
  return true;
}

std::shared_ptr<const Scale> scale_of(std::string_view word, std::string_view whole) {
  if (word.ends_with(".toml")) {
    const std::string path(word);
    return std::make_shared<const Scale>(path, job::read_scale_table(path));
  }
  if (auto found = find_scale(word)) return found;
  const std::vector<std::string> names = scale_names();
  const std::string nearest = nearest_spelling(std::string(word), names);
  throw UsageError(
      fmt::format("data.loss_scale = \"{}\": there is no scale \"{}\" (there are default, last_round or all, "
                  "and with any of "
                  "them {}, or a file of your own that ends with .toml){}",
                  whole, word, join(names), nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?"));
}

}  // namespace

bool LossScale::has(std::string_view name) const {
  return std::any_of(scales.begin(), scales.end(), [&](const auto& scale) { return scale->name() == name; });
}

bool LossScale::is_binary() const {
  return std::all_of(scales.begin(), scales.end(), [](const auto& scale) { return scale->is_binary(); });
}

std::string LossScale::text() const {
  std::string text = fmt::format("{}", int(strategy));
  for (const auto& scale : scales) text += "+" + scale->text();
  return text;
}

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
    if (word != "base") scale.scales.push_back(scale_of(word, name));
  }
  return scale;
}

std::vector<Piece> weigh(const LossScale& scale, const Written& written) {
  std::vector<Piece> pieces;
  for (const Context& context : written.contexts) {
    const bool is_answer = context.kind == ContextKind::response;
    const Question* question = is_answer ? &written.questions[context.round] : nullptr;
    for (Piece& piece : weigh(scale, context, question)) pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::vector<Piece> join_equals(std::vector<Piece> pieces) {
  std::vector<Piece> joined;
  for (Piece& piece : pieces) {
    if (piece.text.empty()) continue;
    if (!joined.empty() && joined.back().weight == piece.weight) {
      joined.back().text += piece.text;
    } else {
      joined.push_back(std::move(piece));
    }
  }
  return joined;
}

}  // namespace moebius::data

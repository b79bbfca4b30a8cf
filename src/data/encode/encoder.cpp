#include "data/encode/encoder.h"

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "data/rows/python_text.h"
#include "data/template/contexts.h"
#include "data/template/turns.h"

namespace moebius::data {
namespace {

/// The first token is predicted from nothing.
void untrain_first(Sample& sample) {
  if (!sample.labels.empty()) sample.labels.front() = kNotTrained;
  if (!sample.loss_scale.empty()) sample.loss_scale.front() = 0;
}

/// The end of a trained answer is trained too, wherever the separator after it begins like the suffix. The
/// scan and its order are ms-swift's `_add_dynamic_eos`, and what it overlooks is overlooked here.
void train_ends(const std::vector<std::int32_t>& suffix, Sample& sample) {
  std::vector<std::int32_t>& labels = sample.labels;
  const std::size_t count = labels.size();
  std::size_t start = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    if (labels[i - 1] >= 0 && i < count && labels[i] == kNotTrained) {
      start = i;
      continue;
    }
    const bool ends_run = labels[i - 1] == kNotTrained && (i == count || labels[i] >= 0);
    if (start == 0 || !ends_run || i - start < suffix.size()) continue;
    const auto begin = std::ptrdiff_t(start);
    const auto end = begin + std::ptrdiff_t(suffix.size());
    if (!std::equal(suffix.begin(), suffix.end(), sample.ids.begin() + begin)) continue;
    std::copy(suffix.begin(), suffix.end(), labels.begin() + begin);
    if (sample.loss_scale.empty()) continue;
    const auto weights = sample.loss_scale.begin();
    if (std::all_of(weights + begin, weights + end, [](float weight) { return weight == 0; })) {
      std::fill(weights + begin, weights + end, 1.0F);
    }
  }
}

/// GLM's models go on with a call right behind their mark, so the line end after the mark goes; and so it
/// does at the very end of a prompt.
void join_calls(std::vector<Piece>& pieces) {
  const auto next_is_call = [&](std::size_t i) {
    return i + 1 == pieces.size() || pieces[i + 1].text.find("<|observation|>") != std::string::npos;
  };
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::string& text = pieces[i].text;
    const bool is_mark = text.ends_with("<|assistant|>\n") || text.ends_with("<think></think>\n");
    if (is_mark && next_is_call(i)) text.pop_back();
  }
}

/// `count` tokens from `begin` on, as a sample of their own.
Sample cut(const Sample& sample, std::int64_t begin, std::int64_t count) {
  const auto part = [&](const auto& values) {
    if (values.empty()) return values;
    return std::decay_t<decltype(values)>(values.begin() + begin, values.begin() + begin + count);
  };
  Sample piece{.ids = part(sample.ids), .labels = part(sample.labels), .loss_scale = part(sample.loss_scale)};
  untrain_first(piece);
  return piece;
}

Parts split(const Sample& sample, std::int64_t limit) {
  const auto length = std::int64_t(sample.ids.size());
  Parts parts;
  for (std::int64_t begin = 0; begin < length; begin += limit)
    parts.samples.push_back(cut(sample, begin, std::min(limit, length - begin)));
  return parts;
}

}  // namespace

TokenizerWords tokenizer_words(const Tokenizer* tokenizer, const TokenizerConfig& config) {
  TokenizerWords words{.eos = config.eos_token, .around = {}};
  if (tokenizer != nullptr) words.around = config.around.value_or(tokenizer->around());
  return words;
}

Encoder::Encoder(const Tokenizer* tokenizer, EncodeSettings settings, TokenizerWords words)
    : tokenizer_(tokenizer), settings_(std::move(settings)), words_(std::move(words)) {
  const Template* style = settings_.style;
  if (style == nullptr) return;
  suffix_ = style->ends_with_eos ? words_.eos.value_or("") : std::string(style->suffix);
  const auto add_stop_word = [&](std::string_view word) {
    if (!word.empty()) stop_words_.emplace_back(word);
  };
  for (const std::string_view word : style->stop_words) add_stop_word(word);
  add_stop_word(strip(style->suffix));
  if (words_.eos) add_stop_word(*words_.eos);
  if (tokenizer_ != nullptr) suffix_ids_ = tokenizer_->encode(suffix_);
}

Encoded Encoder::encode(const Row& row) const {
  try {
    return std::visit(
        [&]<class R>(const R& one) -> Encoded {
          if constexpr (std::is_same_v<R, Dropped>)
            return one;
          else if constexpr (std::is_same_v<R, Pair<ChatRow>> || std::is_same_v<R, Pair<TokenRow>>)
            return encode_pair(one);
          else
            return limited(encode_one(one));
        },
        row);
  } catch (const Dropped& dropped) {
    return dropped;
  }
}

template <class R>
Sample Encoder::encode_pair(const Pair<R>& row) const {
  auto pair = std::get<Sample>(limited(encode_one(row.chosen)));
  const auto rejected = std::get<Sample>(limited(encode_one(row.rejected)));
  if (!pair.loss_scale.empty() || !rejected.loss_scale.empty())
    throw Dropped{DropReason::malformed_tokens, "a pair with a loss_scale that is not 1"};
  pair.rejected_begin = std::int64_t(pair.ids.size());
  pair.ids.insert(pair.ids.end(), rejected.ids.begin(), rejected.ids.end());
  pair.labels.insert(pair.labels.end(), rejected.labels.begin(), rejected.labels.end());
  return pair;
}

std::vector<std::int32_t> Encoder::encode_prompt(const ChatRow& row) const {
  std::vector<std::int32_t> ids;
  try {
    for (const Piece& piece : pieces(row, Purpose::generation)) {
      const std::vector<std::int32_t> tokens = tokenizer_->encode(piece.text);
      ids.insert(ids.end(), tokens.begin(), tokens.end());
    }
  } catch (const Dropped& dropped) {
    throw InputError("the messages cannot be a prompt: " + dropped.text());
  }
  return ids;
}

std::vector<std::int32_t> Encoder::stop_ids() const {
  std::vector<std::int32_t> ids;
  if (tokenizer_ == nullptr) return ids;
  for (const std::string& word : stop_words_) {
    const std::optional<std::int32_t> id = tokenizer_->id_of(word);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return ids;
}

std::vector<Piece> Encoder::pieces(const ChatRow& row, Purpose purpose) const {
  expect_text_can_be_encoded();
  const Template& style = *settings_.style;
  const AgentTemplate* agent = settings_.agent;
  Conversation conversation = conversation_of(row, {style, agent});
  std::vector<Turn>& turns = conversation.turns;
  const Thinking thinking =
      thinking_of(style, settings_.thinking, row.options, settings_.loss_scale.strategy, purpose);
  write_thinking(style, thinking, turns);

  std::optional<std::string> system = conversation.system ? conversation.system : settings_.system;
  if (!system && !style.default_system.empty()) system = std::string(style.default_system);
  if (!row.tools.empty()) system = tell_tools(row.tools, system, turns);
  if (style.ignores_system) system.reset();
  if (system && style.system.empty()) throw Dropped{DropReason::system_not_written, std::string(style.name)};
  const bool is_as_tokenizer = style.begins_as_tokenizer;
  const Writing writing{.style = style,
                        .system = system.value_or(""),
                        .has_system = system.has_value(),
                        .date = settings_.date,
                        .before = is_as_tokenizer ? words_.around.before : "",
                        .after = is_as_tokenizer ? words_.around.after : "",
                        .suffix = suffix_,
                        .response_prefix = thinking.response_prefix,
                        .stop_words = stop_words_,
                        .purpose = purpose};
  std::vector<Piece> pieces = weigh(settings_.loss_scale, written(std::move(turns), writing));
  if (style.joins_calls) join_calls(pieces);
  return join_equals(std::move(pieces));
}

std::optional<std::string> Encoder::tell_tools(std::span<const Json> tools,
                                               const std::optional<std::string>& system,
                                               std::vector<Turn>& turns) const {
  const AgentTemplate* agent = settings_.agent;
  if (agent == nullptr) {
    throw Dropped{DropReason::no_agent_template, std::string(settings_.style->name)};
  }
  std::string text = agent->tools(tools, system);
  if (agent->place == ToolsPlace::system) return text;
  put_before_first(text, turns);
  return system.value_or("");
}

Sample Encoder::encode_one(const ChatRow& row) const {
  Sample sample;
  const bool keeps_numbers = settings_.weights == Weights::numbers;
  for (const Piece& piece : pieces(row, Purpose::training)) {
    const std::vector<std::int32_t> ids = tokenizer_->encode(piece.text);
    sample.ids.insert(sample.ids.end(), ids.begin(), ids.end());
    if (piece.weight > 0) {
      sample.labels.insert(sample.labels.end(), ids.begin(), ids.end());
    } else {
      sample.labels.insert(sample.labels.end(), ids.size(), kNotTrained);
    }
    if (keeps_numbers) sample.loss_scale.insert(sample.loss_scale.end(), ids.size(), float(piece.weight));
  }
  train_ends(suffix_ids_, sample);
  return sample;
}

Sample Encoder::encode_one(const TokenRow& row) const {
  const auto is_outside = [&](std::int32_t id) { return id >= settings_.vocabulary; };
  for (const auto* ids : {&row.input_ids, &row.labels}) {
    const auto outside = std::find_if(ids->begin(), ids->end(), is_outside);
    if (settings_.vocabulary > 0 && outside != ids->end()) {
      throw Dropped{DropReason::token_outside_vocabulary, fmt::format("{}", *outside)};
    }
  }
  Sample sample{.ids = row.input_ids, .labels = row.labels, .loss_scale = row.loss_scale};
  bool is_one_throughout = true;
  for (std::size_t i = 0; i < sample.loss_scale.size(); ++i) {
    is_one_throughout = is_one_throughout && (i == 0 || sample.labels[i] < 0 || sample.loss_scale[i] == 1);
  }
  if (is_one_throughout) sample.loss_scale.clear();
  return sample;
}

Encoded Encoder::limited(Sample sample) const {
  untrain_first(sample);
  const std::int64_t limit = settings_.max_length;
  const auto length = std::int64_t(sample.ids.size());
  if (limit == 0 || length <= limit) return sample;
  switch (settings_.truncation) {
    case job::Truncation::remove:
      throw Dropped{DropReason::too_long, fmt::format("{} tokens, max_length is {}", length, limit)};
    case job::Truncation::left: return cut(sample, length - limit, limit);
    case job::Truncation::right: return cut(sample, 0, limit);
    case job::Truncation::split: return split(sample, limit);
  }
  throw std::logic_error("a truncation of no kind");
}

void Encoder::expect_text_can_be_encoded() const {
  if (settings_.style == nullptr) throw UsageError(settings_.style_problem);
  if (tokenizer_ == nullptr) {
    throw InputError("a row of text needs a tokenizer, but the model has no tokenizer.json");
  }
}

Encoded encode_row(const RawRow& row, RowParser& parser, const Encoder& encoder) {
  const Row parsed = parser.parse(row);
  try {
    return encoder.encode(parsed);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} {}", parser.place(row), error.what()));
  }
}

}  // namespace moebius::data

#include <cmath>
#include <fmt/format.h>
#include <set>

#include "commands/inference.h"
#include "commands/rows.h"
#include "models/models.h"
#include "tensor/random.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kSequencesAtOnce = 16;  // a replica

using Ids = std::vector<std::int32_t>;

/// What generation starts from and where it ends.
struct Prompts {
  std::vector<Ids> rows;
  std::set<std::int32_t> end_tokens;
};

std::vector<Ids> message_prompts(const std::string& path, const data::Encoder& encoder) {
  const data::RowFile file(path);
  data::RowReader reader(file);
  data::RowParser parser(file, {});
  std::vector<Ids> prompts;
  while (const auto raw = reader.next()) {
    const data::Row row = parser.parse(*raw);
    try {
      if (const auto* dropped = std::get_if<data::Dropped>(&row)) throw InputError(dropped->text());
      const auto* chat = std::get_if<data::ChatRow>(&row);
      if (chat == nullptr) throw InputError("no conversation; a row has \"messages\"");
      prompts.push_back(encoder.encode_prompt(*chat));
    } catch (const InputError& error) {
      throw InputError(file.place(*raw) + " " + error.what());
    }
  }
  return prompts;
}

Prompts read_prompts(const GenerateCommand& command, const Language& language,
                     const models::ModelConfig& config, const std::vector<InputLine>& lines) {
  Prompts prompts;
  prompts.end_tokens.insert(config.end_tokens.begin(), config.end_tokens.end());
  for (const InputLine& line : lines) {
    prompts.rows.push_back(ids_of(line, "input_ids", config.vocab));
    if (prompts.rows.back().empty())
      throw InputError(line.place + ": \"input_ids\" is empty: there is nothing to continue");
  }
  if (command.ids.empty() && command.messages.empty()) {
    prompts.rows.push_back(language.tokenizer().encode(command.prompt));
    if (prompts.rows.back().empty()) throw InputError("--prompt is empty: there is nothing to continue");
  }
  if (!command.messages.empty()) {
    static_cast<void>(language.tokenizer());  // must be there
    const job::Job defaults;                  // [data] as it is when nothing is said
    const data::Encoder encoder = training::make_encoder(defaults, language.text());
    prompts.rows = message_prompts(command.messages, encoder);
    for (const std::int32_t id : encoder.stop_ids()) prompts.end_tokens.insert(id);
  }
  return prompts;
}

/// The likeliest token, the lower id at equal logits; or, above temperature 0, a draw that depends on seed,
/// row and step alone.
class Sampler {
 public:
  Sampler(double temperature, std::int64_t seed) : temperature_(temperature), seed_(seed) {}

  [[nodiscard]] std::int32_t choose(std::span<const float> logits, std::int64_t row, std::size_t step) const {
    const auto best = std::max_element(logits.begin(), logits.end());
    if (temperature_ == 0) return std::int32_t(best - logits.begin());
    const auto weight = [&](float logit) { return std::exp((double(logit) - double(*best)) / temperature_); };
    double total = 0;
    for (const float logit : logits) total += weight(logit);
    const Random random{std::uint64_t(seed_), RandomStream::generation, std::uint32_t(row)};
    double left = random.uniform(step) * total;
    for (std::size_t id = 0; id < logits.size(); ++id) {
      left -= weight(logits[id]);
      if (left < 0) return std::int32_t(id);
    }
    return std::int32_t(best - logits.begin());  // rounding ate the last of it
  }

 private:
  double temperature_;
  std::int64_t seed_;
};

class Generator {
 public:
  struct Model {
    InferenceModel& loaded;
    std::int64_t vocab;
  };
  Generator(const GenerateCommand& command, const Prompts& prompts, const Model& model, Session& session)
      : command_(command),
        prompts_(prompts),
        model_(model.loaded),
        vocab_(model.vocab),
        session_(session),
        sampler_(command.temperature, command.seed) {}

  /// Continues the rows of this replica among `kSequencesAtOnce * replicas` rows from `first` on. Collective.
  [[nodiscard]] std::vector<std::pair<std::int64_t, Ids>> run(std::int64_t first) {
    std::vector<std::pair<std::int64_t, Ids>> generated;
    std::vector<Ids> fed;
    std::int64_t longest = 1;
    for (std::int64_t i = 0; i < kSequencesAtOnce; ++i) {
      const std::int64_t row = first + i * model_.replicas() + model_.replica();
      if (row >= std::int64_t(prompts_.rows.size())) break;
      generated.emplace_back(row, Ids{});
      fed.push_back(prompts_.rows[std::size_t(row)]);
      longest = std::max(longest, std::int64_t(fed.back().size()));
    }
    const auto sequences = std::int64_t(fed.size());
    const auto decoding = model_.decode(sequences, longest + command_.max_new_tokens);
    std::vector<float> logits(std::size_t(sequences * vocab_));
    const auto any = [&] {
      const auto alive =
          std::int64_t(std::count_if(fed.begin(), fed.end(), [](const Ids& ids) { return !ids.empty(); }));
      return session_.cluster.all_reduce("sequences alive", alive, cluster::Reduction::max) > 0;
    };
    for (std::size_t step = 0; any(); ++step) {
      decoding->step(fed, logits);
      for (std::size_t s = 0; s < fed.size(); ++s) {
        if (fed[s].empty()) continue;
        const std::span<const float> row(logits.data() + s * std::size_t(vocab_), std::size_t(vocab_));
        advance(sampler_.choose(row, generated[s].first, step), generated[s].second, fed[s]);
      }
    }
    return generated;
  }

 private:
  void advance(std::int32_t token, Ids& generated, Ids& fed) const {
    generated.push_back(token);
    const bool ends =
        command_.end_token == GenerateCommand::EndToken::stops && prompts_.end_tokens.contains(token);
    const bool is_full = std::int64_t(generated.size()) == command_.max_new_tokens;
    fed.clear();
    if (!ends && !is_full) fed.push_back(token);
  }

  const GenerateCommand& command_;
  const Prompts& prompts_;
  InferenceModel& model_;
  std::int64_t vocab_;
  Session& session_;
  Sampler sampler_;
};

std::string row_text(const Ids& ids, const GenerateCommand& command, const data::Tokenizer* tokenizer) {
  std::string text = tokenizer == nullptr ? "" : tokenizer->decode(ids, data::SpecialTokens::skip);
  if (command.output == GenerateCommand::Output::text) return text;
  return fmt::format("{{\"ids\":[{}],\"text\":{}}}", fmt::join(ids, ","),
                     tokenizer == nullptr ? "null" : json_quoted(text));
}

}  // namespace

ExitCode generate(const GenerateCommand& command, Session& session) {
  auto& cluster = session.cluster;
  OpenModel opened = open_model(command.model, session);
  const models::ModelConfig& config = opened.config;
  const auto language = cluster.together("read the tokenizer", [&] {
    auto read =
        std::make_unique<Language>(opened.source.files(), opened.source.path().string(), config.vocab);
    if (command.output == GenerateCommand::Output::text)
      static_cast<void>(read->tokenizer());  // must be there
    return read;
  });
  const std::vector<InputLine> lines =
      command.ids.empty() ? std::vector<InputLine>() : read_lines(command.ids, session);
  const Prompts prompts =
      cluster.together("read the prompts", [&] { return read_prompts(command, *language, config, lines); });
  std::size_t longest = 0;
  for (const Ids& row : prompts.rows) longest = std::max(longest, row.size());

  const auto model =
      load_model(opened, command.inference, std::int64_t(longest) + command.max_new_tokens, session);
  Generator generator(command, prompts, {*model, config.vocab}, session);
  RowOutput output("", session);
  for (std::int64_t first = 0; first < std::int64_t(prompts.rows.size());
       first += kSequencesAtOnce * model->replicas()) {
    std::vector<RowOutput::Row> rows;
    for (const auto& [row, ids] : generator.run(first)) {
      if (model->speaks()) rows.emplace_back(row, row_text(ids, command, language->text().tokenizer));
    }
    output.write(rows);
  }
  return ExitCode::done;
}

}  // namespace moebius::commands

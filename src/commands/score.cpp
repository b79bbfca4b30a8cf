#include <fmt/format.h>

#include "commands/inference.h"
#include "commands/rows.h"
#include "models/models.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kRoundsAtOnce = 64;  // rows of a replica between two writes

/// {"logprobs":[null, -1.25, ...]}: entry t is log p(ids[t] | ids[<t]).
std::string row_text(const std::vector<std::int32_t>& ids, const std::vector<float>& log_probabilities) {
  std::string text = ids.empty() ? "{\"logprobs\":[" : "{\"logprobs\":[null";
  for (const float value : log_probabilities) text += fmt::format(",{:.9g}", value);
  return text + "]}";
}

}  // namespace

ExitCode score(const ScoreCommand& command, Session& session) {
  auto& cluster = session.cluster;
  OpenModel opened = open_model(command.model, session);
  const models::ModelConfig& config = opened.config;
  const std::vector<InputLine> lines = read_lines(command.input, session);
  std::vector<std::vector<std::int32_t>> rows;
  std::size_t longest = 1;
  cluster.together("read the rows", [&] {
    for (const InputLine& line : lines) rows.push_back(ids_of(line, "input_ids", config.vocab));
    for (const auto& row : rows) longest = std::max(longest, row.size());
  });

  const auto loaded = load_model(opened, command.inference, std::int64_t(longest), session);
  InferenceModel& model = *loaded;
  RowOutput output(command.out, session);
  const auto count = std::int64_t(rows.size());
  for (std::int64_t first = 0; first < count; first += kRoundsAtOnce * model.replicas()) {
    std::vector<RowOutput::Row> scored;
    for (std::int64_t round = 0; round < kRoundsAtOnce && first + round * model.replicas() < count; ++round) {
      const std::int64_t index = first + round * model.replicas() + model.replica();
      const std::vector<std::int32_t> ids =
          index < count ? rows[std::size_t(index)] : std::vector<std::int32_t>();
      const std::vector<float> log_probabilities = model.score(ids);
      if (index < count && model.speaks()) scored.emplace_back(index, row_text(ids, log_probabilities));
    }
    output.write(scored);
  }
  return ExitCode::done;
}

}  // namespace moebius::commands

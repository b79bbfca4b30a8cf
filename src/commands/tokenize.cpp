#include <filesystem>
#include <fmt/format.h>

#include "commands/rows.h"
#include "data/tokenizer/tokenizer.h"
#include "hub/hub.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kAnyId = std::int64_t{1} << 31;  // decode writes nothing for ids without a token

/// From a checkpoint, or from a folder that needs no more than tokenizer.json.
data::Tokenizer open_tokenizer(const std::string& model) {
  if (std::filesystem::is_directory(model)) return data::Tokenizer::load(model);
  const hub::ModelSource source(model);
  const auto found = source.files().find("tokenizer.json");
  if (found == source.files().end()) throw InputError(model + ": holds no tokenizer.json");
  return data::Tokenizer::from_text(model + ": tokenizer.json", found->second);
}

std::string converted(const InputLine& line, const TokenizeCommand& command,
                      const data::Tokenizer& tokenizer) {
  if (command.direction == TokenizeCommand::Direction::encode) {
    return fmt::format("{{\"ids\":[{}]}}", fmt::join(tokenizer.encode(text_of(line, "text")), ","));
  }
  const std::vector<std::int32_t> ids = ids_of(line, "ids", kAnyId);
  return fmt::format("{{\"text\":{}}}", json_quoted(tokenizer.decode(ids, data::SpecialTokens::keep)));
}

}  // namespace

ExitCode tokenize(const TokenizeCommand& command, Session& session) {
  auto& cluster = session.cluster;
  const data::Tokenizer tokenizer =
      cluster.together("read the tokenizer", [&] { return open_tokenizer(command.model); });
  const std::vector<InputLine> lines = read_lines(command.input, session);
  std::vector<RowOutput::Row> rows;
  cluster.together("convert the rows", [&] {
    for (auto i = cluster.rank(); i < std::int64_t(lines.size()); i += cluster.size()) {
      rows.emplace_back(i, converted(lines[std::size_t(i)], command, tokenizer));
    }
  });
  RowOutput(command.out, session).write(rows);
  return ExitCode::done;
}

}  // namespace moebius::commands

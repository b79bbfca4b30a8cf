#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "job/job.h"

namespace moebius::commands {

/// What stands on the command line, one struct a command.
struct JobArguments {
  std::string file;
  std::vector<std::string> overrides;  // --set key.path=value
};
struct TrainCommand {
  JobArguments job;
};
struct CheckCommand {
  JobArguments job;
};
struct PlanCommand {
  JobArguments job;
  std::optional<std::int64_t> ranks;  // instead of those that it runs with
  std::string gpu_memory;             // "80GiB", of GPUs that need not be here; empty: of those that are
  enum class Drawing : std::uint8_t { none, text } schedule = Drawing::none;
  std::string schedule_svg;  // file for a picture of the schedule; empty: none
};
struct RenderCommand {
  JobArguments job;
  std::optional<std::int64_t> rows;
  std::string out;   // empty: stdout
  std::string html;  // a page to look at instead; empty: none
};
struct ImportCommand {
  std::string folder, out;
};
/// MODEL, and the adapter that it shall work with.
struct ModelArguments {
  std::string path;
  std::string adapter;  // PEFT folder, or checkpoint of one; empty: none
};
struct ExportCommand {
  ModelArguments model;
  std::string out;
  enum class Adapter : std::uint8_t { none, merged, alone } adapter = Adapter::none;
  std::optional<std::string> dtype;
  std::string max_shard_size = "5GB";
  enum class Check : std::uint8_t { no, compare_logits } check = Check::no;
};
/// How a model is spread over the ranks for score, generate and export --check (what is left of the ranks is
/// data), and what they compute on.
struct InferenceSettings {
  std::optional<std::int64_t> tensor, context, pipeline, expert;
  job::Device device = job::Device::automatic;
  job::Precision precision = job::Precision::automatic;
};
struct ScoreCommand {
  ModelArguments model;
  std::string input, out;
  InferenceSettings inference;
};
struct GenerateCommand {
  enum class Output : std::uint8_t { text, json };
  enum class EndToken : std::uint8_t { stops, ignored };
  ModelArguments model;
  std::string prompt, messages, ids;  // exactly one
  Output output = Output::text;
  EndToken end_token = EndToken::stops;
  std::int64_t max_new_tokens = 128;
  double temperature = 0;
  std::int64_t seed = 42;
  InferenceSettings inference;
};
struct TokenizeCommand {
  enum class Direction : std::uint8_t { encode, decode };
  std::string model, input, out;
  Direction direction = Direction::encode;
};
struct InspectCommand {
  std::string checkpoint;
};
struct VersionCommand {};

using Command =
    std::variant<TrainCommand, CheckCommand, PlanCommand, RenderCommand, ImportCommand, ExportCommand,
                 ScoreCommand, GenerateCommand, TokenizeCommand, InspectCommand, VersionCommand>;

/// A text for the user instead of a command: --help (done), or what is wrong (usage).
struct Reply {
  std::string text;
  ExitCode exit_code;
};

[[nodiscard]] std::variant<Command, Reply> parse_command_line(int argc, const char* const* argv);

}  // namespace moebius::commands

#include "commands/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <memory>
#include <sstream>

#include "base/text.h"

namespace moebius::commands {
namespace {

constexpr double kMost = 1e15;  // fits an int64 with room for sums

/// A number that is not below `least`; CLI11's own validators tell the range of a double instead.
CLI::Validator at_least(double least) {
  const auto complaint = [least](const std::string& text) {
    double number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    const bool is_number = error == std::errc() && rest == end && number >= least && number <= kMost;
    return is_number ? "" : fmt::format("{} is not a number from {} to {}", text, least, kMost);
  };
  return {complaint, fmt::format("(>= {})", least)};
}

/// An option of one of these words. (CLI11's own validator for it prints the enumerators as characters.)
template <class E>
void add_choice(CLI::App* command, const char* name, E& value, const std::map<std::string, E>& choices) {
  const auto take = [&value, choices](const std::string& word) { value = choices.at(word); };
  std::vector<std::string> words;
  words.reserve(choices.size());
  for (const auto& [word, choice] : choices) words.push_back(word);
  command->add_option_function<std::string>(name, take)->check(CLI::IsMember(words));
}

/// Collects the commands while CLI11 parses; `chosen` is what the user wrote.
class Grammar {
 public:
  Grammar();
  std::variant<Command, Reply> parse(int argc, const char* const* argv);

 private:
  template <class C>
  CLI::App* add(const char* name, const char* description, std::shared_ptr<C>& options) {
    options = std::make_shared<C>();
    CLI::App* command = app_.add_subcommand(name, description);
    command->callback([this, options] { chosen_ = *options; });
    return command;
  }
  void add_job(CLI::App* command, JobArguments& job);
  void add_inference(CLI::App* command, InferenceSettings& settings);
  void add_adapter(CLI::App* command, ModelArguments& model);
  void add_job_commands();
  void add_folder_commands();
  void add_model_commands();
  void add_generate();
  void refuse(const char* name, const char* description);
  [[nodiscard]] std::optional<Reply> unknown_command(const std::string& word) const;

  CLI::App app_{"Trains mixture-of-experts language models as a batch job.", "moebius"};
  std::optional<Command> chosen_;
  std::optional<std::string> refused_;
};

Grammar::Grammar() {
  app_.require_subcommand(1);
  add_job_commands();
  add_folder_commands();
  add_model_commands();
  add_generate();
  refuse("netcheck", "the fabric vote and timed collectives");
  std::shared_ptr<VersionCommand> version;
  add("version", "what this program is and what it is built with", version);
}

void Grammar::add_job(CLI::App* command, JobArguments& job) {
  command->add_option("JOB", job.file, "job file (TOML)")->required();
  command->add_option("--set", job.overrides, "key.path=value, over what the file says")
      ->allow_extra_args(false);
}

void Grammar::add_inference(CLI::App* command, InferenceSettings& settings) {
  command->add_option("--tensor", settings.tensor, "ranks that share a layer")->check(at_least(1));
  command->add_option("--context", settings.context, "ranks that share a sequence")->check(at_least(1));
  command->add_option("--pipeline", settings.pipeline, "groups of ranks that have the layers in turns")
      ->check(at_least(1));
  command->add_option("--expert", settings.expert, "ranks that share the experts")->check(at_least(1));
  add_choice<job::Device>(
      command, "--device", settings.device,
      {{"auto", job::Device::automatic}, {"cpu", job::Device::cpu}, {"cuda", job::Device::cuda}});
  add_choice<job::Precision>(command, "--precision", settings.precision,
                             {{"auto", job::Precision::automatic},  // bf16 on a GPU
                              {"fp32", job::Precision::fp32},
                              {"bf16", job::Precision::bf16}});
}

void Grammar::add_adapter(CLI::App* command, ModelArguments& model) {
  command->add_option("--adapter", model.adapter, "adapter for the model: PEFT folder, or checkpoint of one");
}

void Grammar::add_job_commands() {
  std::shared_ptr<TrainCommand> train;
  CLI::App* command = add("train", "validates, resumes and trains a job", train);
  add_job(command, train->job);
  std::shared_ptr<CheckCommand> check;
  command = add("check", "validates a job; prints every problem, or the completed job", check);
  add_job(command, check->job);
  std::shared_ptr<PlanCommand> plan;
  command = add("plan", "what a job will need: bytes by purpose before anything starts", plan);
  add_job(command, plan->job);
  command->add_option("--ranks", plan->ranks, "plan for N ranks instead of those it runs with")
      ->check(at_least(1));
  command->add_option("--gpu-memory", plan->gpu_memory, "plan for GPUs of this size, such as 80GiB");
  command->add_flag_callback(
      "--schedule", [plan] { plan->schedule = PlanCommand::Drawing::text; },
      "draw what each pipeline stage does in a step, and when");
  command->add_option("--schedule-svg", plan->schedule_svg, "the same as a picture, into this file");
  std::shared_ptr<RenderCommand> render;
  command = add("render", "what the model sees of the data: text, input_ids, labels, loss_scale", render);
  add_job(command, render->job);
  command->add_option("--rows", render->rows, "only the first N rows of each file")->check(at_least(1));
  CLI::Option* out = command->add_option("-o,--out", render->out, "file to write instead of stdout");
  command->add_option("--html", render->html, "a page to look at instead (200 rows of each file, or --rows)")
      ->excludes(out);
}

void Grammar::add_folder_commands() {
  std::shared_ptr<ImportCommand> import;
  CLI::App* command = add("import", "Hugging Face folder to checkpoint", import);
  command->add_option("HF_DIR", import->folder, "Hugging Face model folder")->required();
  command->add_option("-o,--out", import->out, "checkpoint to write")->required();

  std::shared_ptr<ExportCommand> exported;
  command = add("export", "checkpoint to Hugging Face folder", exported);
  command->add_option("CKPT", exported->model.path, "checkpoint, or Hugging Face folder")->required();
  command->add_option("-o,--out", exported->out, "folder to write")->required();
  command->add_option("--dtype", exported->dtype, "bfloat16 or float32 (as stored)")
      ->check(CLI::IsMember({"bfloat16", "float32"}));
  CLI::Option* shards =
      command->add_option("--max-shard-size", exported->max_shard_size, "largest file, such as 5GB");
  command->add_flag_callback(
      "--check", [exported] { exported->check = ExportCommand::Check::compare_logits; },
      "compare logits before and after");
  add_adapter(command, exported->model);
  CLI::Option* merge = command->add_flag_callback(
      "--merge-adapter", [exported] { exported->adapter = ExportCommand::Adapter::merged; },
      "the model with its adapter taken in");
  command
      ->add_flag_callback(
          "--adapter-only", [exported] { exported->adapter = ExportCommand::Adapter::alone; },
          "the adapter, as a PEFT folder")
      ->excludes(merge)
      ->excludes(shards);

  std::shared_ptr<InspectCommand> inspect;
  command = add("inspect", "what is inside a checkpoint, and is it whole", inspect);
  command->add_option("CKPT", inspect->checkpoint, "checkpoint")->required();
}

void Grammar::add_model_commands() {
  std::shared_ptr<ScoreCommand> score;
  CLI::App* command = add("score", "log-probability of every token", score);
  command->add_option("MODEL", score->model.path, "Hugging Face folder or checkpoint")->required();
  command->add_option("--input", score->input, "rows {\"input_ids\": [...]}")->required();
  command->add_option("-o,--out", score->out, "file to write instead of stdout");
  add_adapter(command, score->model);
  add_inference(command, score->inference);

  std::shared_ptr<TokenizeCommand> tokenize;
  command = add("tokenize", "text to token ids, or the other way", tokenize);
  command->add_option("MODEL", tokenize->model, "folder with tokenizer.json, or checkpoint")->required();
  command->add_option("--input", tokenize->input, "rows {\"text\": ...} or {\"ids\": [...]} (stdin)");
  command->add_option("-o,--out", tokenize->out, "file to write instead of stdout");
  command->add_flag_callback(
      "--decode", [tokenize] { tokenize->direction = TokenizeCommand::Direction::decode; },
      "token ids to text");
}

void Grammar::add_generate() {
  std::shared_ptr<GenerateCommand> generate;
  CLI::App* command = add("generate", "continue a prompt", generate);
  command->add_option("MODEL", generate->model.path, "Hugging Face folder or checkpoint")->required();
  auto* input = command->add_option_group("input", "what to continue");
  input->add_option("--prompt", generate->prompt, "text");
  input->add_option("--messages", generate->messages, "rows {\"messages\": [...]}");
  input->add_option("--ids", generate->ids, "rows {\"input_ids\": [...]}");
  input->require_option(1);
  command->add_flag_callback(
      "--json", [generate] { generate->output = GenerateCommand::Output::json; }, "rows {\"ids\", \"text\"}");
  command->add_flag_callback(
      "--ignore-eos", [generate] { generate->end_token = GenerateCommand::EndToken::ignored; },
      "go on past the end token");
  command->add_option("--max-new-tokens", generate->max_new_tokens)->check(at_least(1));
  command->add_option("--temperature", generate->temperature, "0: the likeliest token")->check(at_least(0));
  command->add_option("--seed", generate->seed, "of the draws at a temperature above 0")->check(at_least(0));
  add_adapter(command, generate->model);
  add_inference(command, generate->inference);
}

void Grammar::refuse(const char* name, const char* description) {
  CLI::App* command = app_.add_subcommand(name, fmt::format("{} (not built yet)", description));
  command->allow_extras();
  command->callback([this, name] { refused_ = name; });
}

/// What is wrong with the first word, where something is: CLI11 only says that a command is missing.
std::optional<Reply> Grammar::unknown_command(const std::string& word) const {
  if (word == "-h" || word == "--help") return {};
  std::vector<std::string> names;
  for (const CLI::App* command : app_.get_subcommands({})) names.push_back(command->get_name());
  if (std::ranges::count(names, word) > 0) return {};
  const std::string nearest = nearest_spelling(word, names);
  const std::string cure = nearest.empty() ? fmt::format("the commands are {}", join(names))
                                           : fmt::format("did you mean '{}'?", nearest);
  return Reply{word.empty() ? fmt::format("a command is missing ({})", cure)
                            : fmt::format("unknown command '{}' ({})", word, cure),
               ExitCode::usage};
}

std::variant<Command, Reply> Grammar::parse(int argc, const char* const* argv) {
  if (const auto reply = unknown_command(argc > 1 ? argv[1] : "")) return *reply;
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int status = app_.exit(error, out, err);
    if (status == 0) return Reply{out.str(), ExitCode::done};
    std::string text = err.str();
    while (text.ends_with('\n')) text.pop_back();
    return Reply{text, ExitCode::usage};
  }
  if (refused_)
    return Reply{fmt::format("moebius {}: not built yet in this version", *refused_), ExitCode::usage};
  return *chosen_;
}

}  // namespace

std::variant<Command, Reply> parse_command_line(int argc, const char* const* argv) {
  return Grammar().parse(argc, argv);
}

}  // namespace moebius::commands

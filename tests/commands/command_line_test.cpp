#include "commands/command_line.h"

#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::commands;

namespace {

std::variant<Command, Reply> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "moebius");
  return parse_command_line(int(words.size()), words.data());
}

template <class C>
C parsed(const std::vector<const char*>& words) {
  const auto result = parse(words);
  if (const auto* reply = std::get_if<Reply>(&result)) FAIL(reply->text);
  return std::get<C>(std::get<Command>(result));
}

Reply refused(const std::vector<const char*>& words) {
  const auto result = parse(words);
  REQUIRE(std::holds_alternative<Reply>(result));
  return std::get<Reply>(result);
}

}  // namespace

TEST_CASE("every command takes the arguments that the design gives it", "[commands]") {
  const auto train =
      parsed<TrainCommand>({"train", "a.toml", "--set", "optimizer.lr=1", "--set", "job.seed=2"});
  CHECK(train.job.file == "a.toml");
  CHECK(train.job.overrides == std::vector<std::string>{"optimizer.lr=1", "job.seed=2"});
  CHECK(parsed<CheckCommand>({"check", "a.toml"}).job.file == "a.toml");
  const auto plan = parsed<PlanCommand>({"plan", "a.toml", "--ranks", "8", "--gpu-memory", "80GiB"});
  CHECK(plan.ranks == 8);
  CHECK(plan.gpu_memory == "80GiB");
  CHECK_FALSE(parsed<PlanCommand>({"plan", "a.toml"}).ranks.has_value());
  CHECK(parsed<RenderCommand>({"render", "a.toml", "--rows", "3", "-o", "x"}).rows == 3);
  CHECK(parsed<ImportCommand>({"import", "dir", "-o", "a.h5"}).out == "a.h5");
  const auto exported = parsed<ExportCommand>(
      {"export", "a.h5", "-o", "dir", "--dtype", "bfloat16", "--max-shard-size", "1GB", "--check"});
  CHECK(exported.dtype == "bfloat16");
  CHECK(exported.check == ExportCommand::Check::compare_logits);
  const auto adapter =
      parsed<ExportCommand>({"export", "m", "-o", "out", "--adapter", "peft", "--adapter-only"});
  CHECK(adapter.model.adapter == "peft");
  CHECK(adapter.adapter == ExportCommand::Adapter::alone);
  CHECK(parsed<ScoreCommand>({"score", "m", "--input", "t", "-o", "o", "--expert", "2"}).inference.expert ==
        2);
  const auto generate = parsed<GenerateCommand>({"generate", "m", "--prompt", "x", "--json", "--ignore-eos",
                                                 "--max-new-tokens", "5", "--temperature", "0.5"});
  CHECK(generate.end_token == GenerateCommand::EndToken::ignored);
  CHECK(generate.max_new_tokens == 5);
  CHECK(generate.temperature == 0.5);
  CHECK(parsed<TokenizeCommand>({"tokenize", "m", "--decode"}).direction ==
        TokenizeCommand::Direction::decode);
  CHECK(parsed<InspectCommand>({"inspect", "a.h5"}).checkpoint == "a.h5");
  parsed<VersionCommand>({"version"});
}

TEST_CASE("devices and precisions are words", "[commands]") {
  const auto score =
      parsed<ScoreCommand>({"score", "m", "--input", "t", "--device", "cpu", "--precision", "fp32"});
  CHECK(score.inference.device == job::Device::cpu);
  CHECK(score.inference.precision == job::Precision::fp32);
  const Reply wrong = refused({"score", "m", "--input", "t", "--device", "gpu"});
  CHECK(wrong.text.find("gpu not in {auto,cpu,cuda}") != std::string::npos);
  const Reply help = refused({"score", "--help"});
  CHECK(help.text.find("--precision TEXT:{auto,bf16,fp32}") != std::string::npos);
}

TEST_CASE("what is wrong or not built on the command line ends with exit code 2", "[commands]") {
  CHECK(refused({"trian", "a.toml"}).text == "unknown command 'trian' (did you mean 'train'?)");
  CHECK(refused({"export", "a.h5", "-o", "b", "--adapter-only", "--merge-adapter"}).exit_code ==
        ExitCode::usage);
  CHECK(refused({"plan", "a.toml", "--ranks", "0"}).exit_code == ExitCode::usage);
  CHECK(refused({"netcheck"}).exit_code == ExitCode::usage);
  CHECK(refused({"train"}).exit_code == ExitCode::usage);
  CHECK(refused({"generate", "m"}).exit_code == ExitCode::usage);
  CHECK(refused({"generate", "m", "--prompt", "a", "--ids", "b"}).exit_code == ExitCode::usage);
  CHECK(refused({"export", "a", "-o", "b", "--dtype", "int8"}).exit_code == ExitCode::usage);
  CHECK(refused({}).exit_code == ExitCode::usage);
  CHECK(refused({"--help"}).exit_code == ExitCode::done);
}

#include "tests/end_to_end/refusal.h"
#include "tests/end_to_end/tiny_job.h"

// Job files and command lines that must be refused (exit code 2), and jobs that do not fit the ranks (4).

using namespace moebius;

namespace {

/// What differs from a job that is right, and what must be said about it.
struct BadSetting {
  std::vector<std::string> set;  // key.path=value
  int exit_code;
  std::string message;
  std::vector<int> ranks{1, 2};
};

/// One problem, found at a --set.
std::string problem(const std::string& place, const std::string& text) {
  return fmt::format("{}  {}\n1 problem, nothing was started", place, text);
}

struct BadCommand {
  std::vector<std::string> words;
  std::string message;
};

const BadCommand kBadCommands[] = {
    {{},
     "a command is missing (the commands are train, check, plan, render, import, export, inspect, score, "
     "tokenize, generate, netcheck, version)"},
    {{"trian", "job.toml"}, "unknown command 'trian' (did you mean 'train'?)"},
    {{"train"}, "JOB is required..."},
    {{"train", "job.toml", "--dry-run"}, "The following argument was not expected: --dry-run..."},
    {{"check", "nowhere.toml"}, "nowhere.toml: cannot be opened: No such file or directory"},
    {{"train", "."}, ".: is not a file: Is a directory"},
    {{"plan", "job.toml", "--ranks", "0"}, "--ranks: 0 is not a number from 1 to 1000000000000000..."},
    {{"netcheck", "--size", "64MiB"}, "moebius netcheck: not built yet in this version"},
    {{"export", "a.h5", "-o", "b", "--merge-adapter", "--adapter-only"},
     "--merge-adapter excludes --adapter-only..."},
    {{"export", "a.h5", "-o", "b", "--max-shard-size", "huge"},
     "--max-shard-size huge: a size such as 5GB or 500MiB"},
    {{"export", "a.h5", "-o", "b", "--dtype", "int8"}, "--dtype: int8 not in ..."},
    {{"score", "model", "--input", "rows.jsonl", "--tensor", "0"},
     "--tensor: 0 is not a number from 1 to 1000000000000000..."},
    {{"generate", "model", "--prompt", "a", "--temperature", "-1"},
     "--temperature: -1 is not a number from 0 to 1000000000000000..."},
    {{"generate", "model", "--prompt", "a", "--ids", "rows.jsonl"}, "Exactly 1 option from ..."},
};

const BadSetting kBadSettings[] = {
    {{"parallel.expert=3"},
     2,
     problem("--set parallel.expert",
             "parallel.expert = 3 does not divide the model's 8 experts (use 1, 2, 4, 8)")},
    {{"parallel.tensor=3"},
     2,
     problem("--set parallel.tensor",
             "parallel.tensor = 3 does not divide the model's 8 key and value heads (use 1, 2, 4, 8)")},
    {{"parallel.expert=5", "parallel.tensor=16"},
     2,
     "--set parallel.tensor  parallel.tensor = 16 does not divide the model's 8 key and value heads (use 1, "
     "2, 4, 8)\n--set parallel.expert  parallel.expert = 5 does not divide the model's 8 experts (use 1, 2, "
     "4, "
     "8)\n2 problems, nothing was started"},
    {{"parallel.tensor=4"},
     4,
     "tensor 4 x context 1 x pipeline 1 = 4 does not divide the 1 rank of this run; use tensor: 1, or start "
     "a multiple of 4 ranks",
     {1}},
    {{"parallel.tensor=4"},
     4,
     "tensor 4 x context 1 x pipeline 1 = 4 does not divide the 2 ranks of this run; use tensor: 1, 2, or "
     "start a multiple of 4 ranks",
     {2}},
    {{"parallel.expert=8"},
     4,
     "expert 8 x expert_tensor 1 x pipeline 1 = 8 does not divide the 2 ranks of this run; use expert: 1, 2, "
     "or start a multiple of 8 ranks",
     {2}},
    {{"train.global_batch_size=3"},
     2,
     problem("--set train.global_batch_size",
             "train.global_batch_size = 3 is not a multiple of 2: micro_batch_size 1 x 2 data ranks"),
     {2}},
    {{"model.config=dense.json", "moe.aux_loss_coeff=0", "moe.z_loss_coeff=0", "parallel.expert=2"},
     2,
     problem("--set parallel.expert", "parallel.expert = 2, but the model (qwen3) has no experts (use 1)")},
    {{"model.config=dense.json", "moe.z_loss_coeff=0"},
     2,
     problem("job.toml:17:18",
             "moe.aux_loss_coeff = 0.01 has no effect: the model has no experts; remove it")},
    {{"model.config=dense.json", "moe.z_loss_coeff=0", "moe.aux_loss_coeff=0", "moe.routing=even"},
     2,
     problem("--set moe.routing",
             "moe.routing = \"even\" has no effect: the model has no experts; remove it")},
    {{"train.global_batch_size=4096"},
     2,
     "--set train.global_batch_size  the data makes 25 packs, less than one global batch of 4096 in 1 "
     "epochs; "
     "lower train.global_batch_size or give train.iterations"},
    {{"model.config=nowhere.json"}, 3, "nowhere.json: cannot be opened: No such file or directory"},
    {{"model.tokenizer=nowhere"}, 3, "nowhere: no such folder"},
    {{"checkpoint.resume=nowhere.h5"}, 3, "nowhere.h5: there is no such file; a checkpoint is expected here"},
};

}  // namespace

TEST_CASE("each bad job file is refused by the program, on 1 and 2 ranks", "[slow][errors]") {
  const int ranks = GENERATE(1, 2);
  const std::vector<test::BadJob> jobs = test::bad_jobs();
  REQUIRE(jobs.size() >= 25);
  for (const test::BadJob& bad : jobs) {
    const test::TemporaryFolder folder;
    test::spill(folder / bad.name, bad.text);
    std::vector<std::string> command{"train", bad.name};
    for (const std::string& setting : bad.overrides) command.insert(command.end(), {"--set", setting});
    INFO(bad.name << " on " << ranks << " ranks");
    const test::Outcome outcome = test::Program(folder).run(ranks, command);
    std::vector<std::string> expected = bad.expected;
    std::vector<std::string> said = test::complaints_of(test::error_of(outcome), bad.name);
    const std::size_t problems = expected.size();
    expected.push_back(fmt::format("{} problem{}, nothing was started", problems, problems == 1 ? "" : "s"));
    for (std::size_t i = 0; i < std::min(said.size(), expected.size()); ++i)
      test::cut_like(expected[i], said[i]);
    CHECK(said == expected);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK(test::files_below(folder.path()).size() == 1);
  }
}

TEST_CASE("each bad command line is refused, on 1 and 2 ranks", "[slow][errors]") {
  const int ranks = GENERATE(1, 2);
  for (const BadCommand& bad : kBadCommands) {
    const test::TemporaryFolder folder;
    test::check_refused(folder, ranks, {bad.words, 2, bad.message});
  }
}

TEST_CASE("jobs that fit neither the model nor the ranks are refused", "[slow][errors]") {
  for (const BadSetting& bad : kBadSettings) {
    const test::TemporaryFolder folder;
    test::TinyJob job(folder);
    job.settings["train"].erase("iterations");
    static_cast<void>(job.file("job"));
    test::Json dense = test::Json::parse(test::slurp(folder / "config.json"));
    dense["model_type"] = "qwen3";
    test::spill(folder / "dense.json", dense.dump());
    std::vector<std::string> command{"train", "job.toml"};
    for (const std::string& setting : bad.set) command.insert(command.end(), {"--set", setting});
    for (const int ranks : bad.ranks)
      test::check_refused(folder, ranks, {command, bad.exit_code, bad.message});
  }
}

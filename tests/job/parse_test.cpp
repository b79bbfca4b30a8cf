#include "job/parse.h"

#include "job/duration.h"
#include "job/write.h"
#include "tests/support/catch.h"

namespace moebius::job {
namespace {

Parsed parse(std::string_view text, const std::vector<std::string>& overrides = {}) {
  return parse_job(text, "a.toml", overrides);
}

std::string only_problem(const Parsed& parsed) {
  REQUIRE(parsed.problems.size() == 1);
  return parsed.problems[0].place + "  " + parsed.problems[0].text;
}

TEST_CASE("a file gives its settings and their places", "[job]") {
  const Parsed parsed = parse(
      "[job]\nname = \"abc\"\ntime_limit = \"1d2h\"\n"
      "[data]\ntrain = [\"a.jsonl\", \"b.csv#5\"]\ncolumns.prompt = \"query\"\nenable_thinking = false\n"
      "[optimizer]\nlr = 1\nbetas = [0, 0.5]\n[cluster]\ntimeout = \"90s\"\n");
  CHECK(parsed.problems.empty());
  CHECK(parsed.unreadable.empty());
  const Job& job = parsed.job;
  CHECK(job.general.name == "abc");
  CHECK(job.general.time_limit.kind == TimeLimit::Kind::given);
  CHECK(job.general.time_limit.seconds == 26 * 3600);
  CHECK(job.data.train == std::vector<std::string>{"a.jsonl", "b.csv#5"});
  CHECK(job.data.columns == std::map<std::string, std::string>{{"prompt", "query"}});
  CHECK(job.data.enable_thinking == false);
  CHECK_FALSE(job.data.preserve_thinking.has_value());
  CHECK(job.optimizer.lr == 1.0);
  CHECK(job.optimizer.beta1 == 0);
  CHECK(job.optimizer.beta2 == 0.5);
  CHECK(job.cluster.timeout_seconds == 90);
  CHECK(job.place_of("optimizer.lr") == "a.toml:9:6");
  CHECK(job.place_of("optimizer.min_lr") == "a.toml");
}

TEST_CASE("an empty file is a job with every default", "[job]") {
  const Parsed parsed = parse("");
  CHECK(parsed.problems.empty());
  CHECK(write_job(parsed.job) == write_job(Job{}));
}

TEST_CASE("the section [lora] is there or not, as a whole", "[job]") {
  CHECK_FALSE(parse("[train]\n").job.lora.has_value());
  CHECK(parse("[lora]\n").job.lora.has_value());
  CHECK(parse("[lora]\n").job.lora->rank == Lora{}.rank);
  const Parsed parsed = parse("", {"lora.rank=4"});
  CHECK(parsed.job.lora->rank == 4);
  CHECK(parsed.job.place_of("lora") == "--set lora.rank");
}

TEST_CASE("an override's value is TOML, and a string where it is none", "[job]") {
  CHECK(parse("", {"job.name=abc def"}).job.general.name == "abc def");
  CHECK(parse("", {"job.name=\"a b\""}).job.general.name == "a b");
  CHECK(parse("", {"job.name=7"}).job.general.name == "7");
  CHECK(parse("", {"job.name=a=b"}).job.general.name == "a=b");
  CHECK(parse("", {"job.name="}).job.general.name.empty());
  CHECK(parse("", {"job.time_limit=2h"}).job.general.time_limit.seconds == 7200);
  CHECK(parse("", {"data.train=[\"a\", \"b\"]"}).job.data.train.size() == 2);
  CHECK(parse("", {"data.packing=false"}).job.data.packing == false);
  CHECK(parse("", {"job.name=1\nseed=2"}).job.general.name == "1\nseed=2");
  CHECK(parse("", {"data.columns.q=query"}).job.data.columns.at("q") == "query");
  CHECK(parse("[data.columns]\na = \"b\"\n", {"data.columns.1=2"}).job.data.columns.size() == 2);
}

TEST_CASE("of the file and several overrides the last counts", "[job]") {
  const Parsed parsed =
      parse("[parallel]\nexpert = 2\ntensor = 2\n", {"parallel.expert=4", "parallel.expert=8"});
  CHECK(parsed.problems.empty());
  CHECK(parsed.job.parallel.expert == 8);
  CHECK(parsed.job.parallel.tensor == 2);
  CHECK(parsed.job.place_of("parallel.expert") == "--set parallel.expert");
}

TEST_CASE("an override of iterations or epochs drops the other one of the file", "[job]") {
  const Parsed iterations = parse("[train]\nepochs = 3\n", {"train.iterations=5"});
  CHECK(iterations.problems.empty());
  CHECK(iterations.job.train.iterations == 5);
  const Parsed epochs = parse("[train]\niterations = 3\n", {"train.epochs=0.5"});
  CHECK(epochs.problems.empty());
  CHECK_FALSE(epochs.job.train.iterations.has_value());
  CHECK(epochs.job.train.epochs == 0.5);
  CHECK(only_problem(parse("", {"train.epochs=1", "train.iterations=1"})) ==
        "--set train.iterations  train.iterations and train.epochs are both given (leave one out)");
}

TEST_CASE("a key that cannot be read keeps its default and is named", "[job]") {
  const Parsed parsed = parse("[parallel]\nexpert = 0\ntensor = 2\n");
  CHECK(only_problem(parsed) == "a.toml:2:10  parallel.expert = 0 must be at least 1");
  CHECK(parsed.unreadable == std::set<std::string>{"parallel.expert"});
  CHECK(parsed.job.parallel.expert == 1);
  CHECK(parsed.job.parallel.tensor == 2);
}

TEST_CASE("after a syntax error no key counts as read", "[job]") {
  const Parsed parsed = parse("[parallel]\nexpert = \n");
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].place.starts_with("a.toml:2:"));
  CHECK(parsed.unreadable.contains("parallel.expert"));
  CHECK(parsed.unreadable.contains("job.output"));
}

TEST_CASE("numbers that are not finite or not whole are refused", "[job]") {
  CHECK(only_problem(parse("[optimizer]\nlr = nan\n")) ==
        "a.toml:2:6  optimizer.lr = nan must be a finite number");
  CHECK(only_problem(parse("[job]\nseed = 1e3\n")) ==
        "a.toml:2:8  job.seed = 1000.0 is a float; expected an integer");
}

TEST_CASE("problems come in the order of the file, those of --set last", "[job]") {
  const Parsed parsed = parse("[train]\nepochs = 0\n[job]\nseed = -1\n", {"log.interval=0"});
  REQUIRE(parsed.problems.size() == 3);
  CHECK(parsed.problems[0].place == "a.toml:2:10");
  CHECK(parsed.problems[1].place == "a.toml:4:8");
  CHECK(parsed.problems[2].place == "--set log.interval");
  CHECK(problems_text(std::span(parsed.problems).last(1)) ==
        "--set log.interval  log.interval = 0 must be at least 1\n1 problem, nothing was started");
}

TEST_CASE("pairs train the last answer unless the job says otherwise", "[job]") {
  CHECK(parse("[objective]\nkind = \"dpo\"\n").job.data.loss_scale == "last_round");
  CHECK(parse("[objective]\nkind = \"sft\"\n").job.data.loss_scale == "default");
  CHECK(parse("", {"objective.kind=dpo"}).job.data.loss_scale == "last_round");
  CHECK(parse("[data]\nloss_scale = \"default\"\n", {"objective.kind=dpo"}).job.data.loss_scale == "default");
}

TEST_CASE("durations", "[job]") {
  CHECK(parse_duration("11h30m") == 41400);
  CHECK(parse_duration("90m") == 5400);
  CHECK(parse_duration("45s") == 45);
  CHECK(parse_duration("1d2h") == 93600);
  for (const char* wrong : {"", "0s", "h", "1", "1.5h", "-1h", "+1h", "1h ", " 1h", "1h1h", "1m1h", "1w",
                            "99999999999999999999s", "1000000000001s"}) {
    INFO(wrong);
    CHECK_FALSE(parse_duration(wrong).has_value());
  }
  for (const double seconds : {1.0, 59.0, 60.0, 3600.0, 3661.0, 93600.0, 1e12}) {
    CHECK(parse_duration(duration_text(seconds)) == seconds);
  }
  CHECK(duration_text(93600) == "26h");
}

}  // namespace
}  // namespace moebius::job

#include "job/validate.h"

#include <filesystem>

#include "base/error.h"
#include "job/load.h"
#include "job/names.h"
#include "job/parse.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/repository.h"

namespace moebius::job {
namespace {

Job good_job() {
  Job job;
  job.file = "a.toml";
  job.general.output = "runs/a";
  job.model.path = "models/tiny";
  job.data.train = {"a.jsonl"};
  return job;
}

std::string said_of(const Job& job, Purpose purpose = Purpose::train) {
  std::string text;
  for (const Problem& problem : validate(job, purpose)) text += problem.text + "\n";
  return text;
}

TEST_CASE("a plain job is right for every purpose", "[job]") {
  for (const Purpose purpose : {Purpose::train, Purpose::check, Purpose::plan, Purpose::render}) {
    CHECK(said_of(good_job(), purpose).empty());
  }
}

TEST_CASE("each purpose needs only what it uses", "[job]") {
  Job job = good_job();
  job.general.output.clear();
  CHECK_FALSE(said_of(job, Purpose::train).empty());
  CHECK_FALSE(said_of(job, Purpose::check).empty());
  CHECK(said_of(job, Purpose::render).empty());
  job.data.train.clear();
  CHECK(said_of(job, Purpose::plan).empty());
  CHECK_FALSE(said_of(job, Purpose::render).empty());

  job = good_job();
  job.model.path.clear();
  job.model.tokenizer = "tokenizers/qwen3";
  CHECK(said_of(job, Purpose::render).empty());
  CHECK_FALSE(said_of(job, Purpose::train).empty());
  job.model.config = "config.json";
  job.model.init = Init::random;
  CHECK(said_of(job, Purpose::train).empty());
}

TEST_CASE("what is built is accepted under every one of its names", "[job]") {
  for (const std::string_view name : kBuiltTemplates) {
    Job job = good_job();
    job.data.template_name = name;
    CHECK(said_of(job).empty());
  }
  for (const std::string_view name : kBuiltAgentTemplates) {
    Job job = good_job();
    job.data.agent_template = name;
    CHECK(said_of(job).empty());
  }
  for (const std::string_view name : kScales) {
    Job job = good_job();
    job.data.loss_scale = name;
    CHECK(said_of(job).empty());
    job.data.loss_scale = "last_round+" + std::string(name) + "+my/weights.toml";
    CHECK(said_of(job).empty());
  }
  Job job = good_job();
  job.moe.routing = Routing::even;
  job.moe.overlap = Overlap::halves;
  job.parallel.tensor = job.parallel.expert = 4;
  job.model.device = Device::cpu;
  job.model.precision = Precision::fp32;
  job.cluster.fabric = Fabric::ethernet;
  CHECK(said_of(job).empty());
}

TEST_CASE("every other name of ms-swift is refused as not built, not as unknown", "[job]") {
  const auto not_built = [](const Job& job) {
    const std::string said = said_of(job);
    return said.find("not built yet in this version") != std::string::npos &&
           said.find("unknown") == std::string::npos;
  };
  for (const std::string_view name : kOtherTemplates) {
    Job job = good_job();
    job.data.template_name = name;
    CHECK(not_built(job));
  }
  for (const std::string_view name : kOtherAgentTemplates) {
    Job job = good_job();
    job.data.agent_template = name;
    CHECK(not_built(job));
  }
}

TEST_CASE("a chain of loss scales is judged part by part", "[job]") {
  Job job = good_job();
  job.data.loss_scale = "default+hermess";
  CHECK(said_of(job) ==
        "data.loss_scale = \"default+hermess\": unknown name 'hermess' (did you mean \"hermes\"?)\n");
  job.data.loss_scale = "hermes+all";
  CHECK(said_of(job).find("strategy 'all' must stand first") != std::string::npos);
  job.data.loss_scale = "all+";
  CHECK(said_of(job).find("unknown name ''") != std::string::npos);
}

TEST_CASE("rules are silent about keys that could not be read", "[job]") {
  const std::string text =
      "[job]\noutput = 1\n[model]\npath = 2\n[data]\ntrain = \"a.jsonl\"\n[eval]\ninterval = -1\n";
  const Parsed parsed = parse_job(text, "a.toml");
  CHECK(parsed.problems.size() == 4);
  CHECK(validate(parsed.job, Purpose::train, parsed.unreadable).empty());
}

TEST_CASE("load_job gives the job or every problem at once", "[job]") {
  const std::string good = "[job]\noutput = \"o\"\n[model]\npath = \"m\"\n[data]\ntrain = [\"a.jsonl\"]\n";
  CHECK(load_job({.text = good, .file = "a.toml"}, Purpose::train).model.path == "m");
  const std::vector<std::string> overrides{"parallel.context=0"};
  try {
    (void)load_job({.text = good, .file = "a.toml", .overrides = overrides}, Purpose::check);
    FAIL("context = 0 was accepted");
  } catch (const UsageError& error) {
    CHECK(error.code() == ExitCode::usage);
    CHECK(std::string(error.what()) ==
          "--set parallel.context  parallel.context = 0 must be at least 1\n"
          "1 problem, nothing was started");
  }
}

TEST_CASE("the jobs that come with the project are right", "[job]") {
  int jobs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::repository() / "jobs")) {
    if (entry.path().extension() != ".toml") continue;
    const std::string text = test::slurp(entry.path());
    CHECK_NOTHROW(load_job({.text = text, .file = entry.path().filename().string()}, Purpose::train));
    ++jobs;
  }
  CHECK(jobs > 0);
}

}  // namespace
}  // namespace moebius::job

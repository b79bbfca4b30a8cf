#include "base/file.h"
#include "models/models.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/repository.h"
#include "tests/support/shared_temporary_folder.h"
#include "training/training.h"

// A template that writes the day's date, and runs that last longer than a day.

using namespace moebius;

namespace {

constexpr const char *kMonday = "05 Jan 2026", *kTuesday = "06 Jan 2026";

data::Tokenizer quickstart_tokenizer() {
  const auto file = test::repository() / "jobs/quickstart/tokenizer.json";
  return data::Tokenizer::from_text(file.string(), test::slurp(file));
}

/// Runs of one training, in a folder each; losses tell which date a run has trained on.
class Runs {
 public:
  explicit Runs(cluster::Cluster& cluster) : cluster_(cluster), folder_(cluster) {
    config_.vocab = 1024;
    std::string rows;
    for (int i = 0; i < 32; ++i)
      rows += R"({"query": "What comes after Monday?", "response": "Tuesday"})"
              "\n";
    if (cluster.rank() == 0) write_file(folder_.path() / "rows.jsonl", rows);
    cluster.barrier("rows written");
  }

  struct Run {
    std::string output, date;
    std::int64_t iterations = 4;
    std::string resume = "auto";
  };
  /// The lines of metrics.jsonl that tell the losses.
  std::vector<std::string> losses(const Run& run) {
    job::Job job;
    job.general.output = folder_.path() / run.output;
    job.started_on = run.date;
    job.model.init = job::Init::random;
    job.model.device = job::Device::cpu;
    job.data.train = {folder_.path() / "rows.jsonl"};
    job.data.template_name = "llama3_2";
    job.data.max_length = 256;
    job.train.global_batch_size = 8;
    job.train.iterations = run.iterations;
    job.optimizer.schedule = job::Schedule::constant;
    job.log.tensorboard = false;
    job.checkpoint.resume = run.resume;
    const training::TextTools text{.tokenizer = &tokenizer_,
                                   .model = {},
                                   .words = data::tokenizer_words(&tokenizer_, {}),
                                   .vocab = config_.vocab};
    (void)training::train({.job = job, .config = config_, .files = {}, .text = text, .read_weights = {}},
                          cluster_, cluster::Environment(), Log(int(cluster_.rank())));
    return losses_in(test::slurp(folder_.path() / run.output / "metrics.jsonl"));
  }

 private:
  static std::vector<std::string> losses_in(const std::string& metrics) {
    std::vector<std::string> losses;
    for (std::size_t at = metrics.find("\"loss\""); at != metrics.npos; at = metrics.find("\"loss\"", at + 1))
      losses.push_back(metrics.substr(at, metrics.find(',', at) - at));
    return losses;
  }

  cluster::Cluster& cluster_;
  test::SharedTemporaryFolder folder_;
  data::Tokenizer tokenizer_ = quickstart_tokenizer();
  models::ModelConfig config_ = test::tiny_moe();
};

}  // namespace

TEST_CASE("a run that is resumed on another day keeps its date", "[training]") {
  cluster::Cluster cluster{cluster::Environment()};
  Runs runs(cluster);
  const auto monday = runs.losses({"monday", kMonday});
  const auto tuesday = runs.losses({"tuesday", kTuesday});
  REQUIRE(monday.size() == 4);
  CHECK(monday != tuesday);
  CHECK(runs.losses({"both", kMonday, 2}).size() == 2);
  CHECK(runs.losses({"both", kTuesday}) == monday);
  // A new start has the new day, whatever lies in the cache.
  CHECK(runs.losses({"both", kTuesday, 4, "never"}) == tuesday);
}

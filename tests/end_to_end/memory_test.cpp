#include <regex>

#include "job/load.h"
#include "models/models.h"
#include "plan/plan.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

// What ranks take of a machine's memory beside what the plan says of each.

using namespace moebius;

namespace {

struct Layout {
  const char* name;
  std::vector<std::string> settings;
};

constexpr int kRanks = 4;
const std::vector<Layout> kLayouts{
    {"data 4", {}},
    {"expert 4", {"parallel.expert=4"}},
    {"tensor 2 x data 2, expert 2 x expert_tensor 2",
     {"parallel.tensor=2", "parallel.expert=2", "parallel.expert_tensor=2"}},
    {"context 2 x data 2, expert 2", {"parallel.context=2", "parallel.expert=2"}},
    {"tensor 2 x pipeline 2", {"parallel.tensor=2", "parallel.pipeline=2"}},
    {"pipeline 4, zero-bubble", {"parallel.pipeline=4", "parallel.schedule=\"zero-bubble\""}},
    {"expert 4, an adapter", {"parallel.expert=4", "lora.rank=16"}},
};

/// A model of 111 million parameters, most of them experts': much memory for little work.
class WideJob {
 public:
  WideJob() : program_(folder_), job_(folder_) {
    job_.reshape({{"vocab_size", 4096},
                  {"hidden_size", 512},
                  {"num_hidden_layers", 8},
                  {"num_key_value_heads", 4},
                  {"head_dim", 64},
                  {"moe_intermediate_size", 256},
                  {"num_experts", 32},
                  {"mlp_only_layers", test::Json::array()},
                  {"max_position_embeddings", 4096}});
    job_.settings["model"]["device"] = "\"cpu\"";
    job_.settings["data"] = {{"train", "[\"synthetic#16\"]"}, {"max_length", "512"}};
    job_.settings["train"] = {{"global_batch_size", "4"}, {"iterations", "2"}};
    path_ = job_.file("wide");
  }

  /// Bytes of each rank, for a program that takes `program` bytes when it starts.
  [[nodiscard]] std::vector<std::int64_t> planned(const Layout& layout, std::int64_t program) const {
    const std::string text = test::slurp(path_), config_file = (folder_ / "config.json").string();
    const job::Job job = job::load_job({text, path_, layout.settings}, job::Purpose::train);
    const models::ModelConfig config = models::read_config(test::slurp(config_file), config_file);
    const plan::Machine machine{.ranks = kRanks, .name = "the node", .program = program};
    const plan::Question question{job, config, kRanks, job.data.max_length, machine};
    std::vector<std::int64_t> bytes;
    bytes.reserve(kRanks);
    for (std::int64_t rank = 0; rank < kRanks; ++rank)
      bytes.push_back(plan::need_on(plan::mesh_of(job, kRanks, rank), question).total());
    return bytes;
  }
  /// Bytes of each rank, from the start of a training to its end; what it said.
  std::pair<std::vector<std::int64_t>, std::string> measured(const Layout& layout) {
    std::filesystem::remove_all(job_.output("wide"));
    std::vector<std::string> arguments{"train", path_};
    for (const std::string& setting : layout.settings) {
      arguments.emplace_back("--set");
      arguments.push_back(setting);
    }
    const std::string file = (folder_ / "peak").string();
    const auto outcome = program_.run(kRanks, arguments, {PEAK_MEMORY, file});
    INFO(layout.name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    std::vector<std::int64_t> bytes;
    bytes.reserve(kRanks);
    for (int rank = 0; rank < kRanks; ++rank)
      bytes.push_back(std::stoll(test::slurp(file + "." + std::to_string(rank))));
    return {bytes, outcome.err};
  }

 private:
  test::TemporaryFolder folder_;
  test::Program program_;
  test::TinyJob job_;
  std::string path_;
};

/// What a line of a training's log says of a part of its memory, in MiB.
double mebibytes_of(const std::string& part, const std::string& log) {
  std::smatch match;
  REQUIRE(std::regex_search(log, match, std::regex(part + " ([0-9.]+) MiB")));
  return std::stod(match[1]);
}

/// What the program took when it started, as its plan says: with GPU libraries much more than without.
std::int64_t program_bytes(const std::string& log) {
  const plan::Machine bare{.ranks = kRanks, .program = 0};
  return std::int64_t(mebibytes_of("memory: .* libraries", log) * (1 << 20)) - bare.library_bytes();
}

}  // namespace

TEST_CASE("ranks take as much memory as the plan says", "[slow][memory]") {
  WideJob job;
  for (const Layout& layout : kLayouts) {
    const auto [measured, log] = job.measured(layout);
    const std::vector<std::int64_t> planned = job.planned(layout, program_bytes(log));
    for (std::size_t rank = 0; rank < planned.size(); ++rank) {
      const double off = double(planned[rank]) / double(measured[rank]) - 1;
      WARN(fmt::format("{}, rank {}: planned {} MiB, measured {} MiB, {:+.1f} %", layout.name, rank,
                       planned[rank] >> 20, measured[rank] >> 20, 100 * off));
      CHECK(std::abs(off) < 0.05);
    }
    if (layout.settings.empty()) {  // each weight has two moments, and a rank those of a quarter of them
      const double weights = mebibytes_of("done: .* weights", log);
      CHECK(mebibytes_of("done: .* optimizer", log) == test::Approx(2 * weights / 4).epsilon(0.01));
    }
  }
}

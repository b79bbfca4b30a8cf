#include <filesystem>

#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

// A training that goes from mesh to mesh, each going on from what the one before has saved.

using namespace moebius;

namespace {

/// Ranks, settings of [parallel], and the iteration whose checkpoint it goes on from.
struct Leg {
  std::string name;
  int ranks;
  std::vector<std::string> settings;
  int from = 0;
};

const std::vector<Leg> kChain{
    {"t2p2e2", 4, {"tensor=2", "pipeline=2", "expert=2"}, 0},
    {"c2d2", 4, {"context=2"}, 5},
    {"one", 1, {}, 10},
    {"p4v2", 4, {"pipeline=4", "virtual_pipeline=2"}, 15},
};

class Chain {
 public:
  explicit Chain(const test::TemporaryFolder& folder) : program_(folder), job_(folder) {
    job_.reshape({{"num_hidden_layers", 8}, {"mlp_only_layers", {1, 3, 5, 7}}});
    job_.settings["checkpoint"]["keep"] = "4";
    // With the usual start two experts of a token are equal to the last bits in the eighth iteration.
    job_.settings["job"]["seed"] = "9";
  }
  /// Trains to the end, from the checkpoint of `before` where the leg has one.
  std::vector<test::Json> run(const Leg& leg, const std::string& before) {
    std::vector<std::string> arguments{"train", job_.file(leg.name)};
    for (const std::string& setting : leg.settings) {
      arguments.emplace_back("--set");
      arguments.push_back("parallel." + setting);
    }
    if (leg.from > 0) {
      const std::string file = fmt::format("/checkpoints/step_{:08}.h5", leg.from);
      std::filesystem::create_directories(job_.output(leg.name) + "/checkpoints");
      std::filesystem::copy_file(job_.output(before) + file, job_.output(leg.name) + file);
    }
    const auto outcome = program_.run(leg.ranks, arguments);
    INFO(leg.name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job_.metrics(leg.name);
  }

 private:
  test::Program program_;
  test::TinyJob job_;
};

}  // namespace

TEST_CASE("a training goes from mesh to mesh as if it had been on one rank", "[slow][resume]") {
  const test::TemporaryFolder folder;
  Chain chain(folder);
  const auto alone = chain.run({"alone", 1, {}}, "");
  REQUIRE(alone.size() == 20);
  std::string before;
  for (const Leg& leg : kChain) {
    const auto rows = chain.run(leg, before);
    const std::vector<test::Json> expected(alone.begin() + leg.from, alone.end());
    const auto worst = [&](const char* key) {
      return test::worst_relative(test::column(rows, key), test::column(expected, key));
    };
    WARN(fmt::format("{} from iteration {}: loss off by {:.1e}, grad_norm {:.1e}", leg.name, leg.from,
                     worst("loss"), worst("grad_norm")));
    CHECK(worst("loss") < 1e-5);
    CHECK(worst("aux_loss") < 1e-5);
    CHECK(worst("grad_norm") < 1e-4);
    CHECK(test::column(rows, "tokens") == test::column(expected, "tokens"));
    CHECK(test::column(rows, "lr") == test::column(expected, "lr"));
    before = leg.name;
  }
}

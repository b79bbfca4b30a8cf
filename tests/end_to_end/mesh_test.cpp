#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

struct Axes {
  int tensor = 1, expert = 1, expert_tensor = 1;
};

std::vector<std::string> on_mesh(const std::string& job, const Axes& axes) {
  return {"train", job,
          "--set", fmt::format("parallel.tensor={}", axes.tensor),
          "--set", fmt::format("parallel.expert={}", axes.expert),
          "--set", fmt::format("parallel.expert_tensor={}", axes.expert_tensor)};
}

/// Every way to lay the axes over so many ranks.
std::vector<Axes> meshes_of(int ranks) {
  std::vector<Axes> meshes;
  for (int tensor = 1; tensor <= ranks; tensor *= 2) {
    for (int expert = 1; expert <= ranks; expert *= 2) {
      for (int width = 1; expert * width <= ranks; width *= 2) meshes.push_back({tensor, expert, width});
    }
  }
  return meshes;
}

}  // namespace

TEST_CASE("every valid mesh of 1, 2, 4 and 8 ranks gives the losses of one rank", "[slow][mesh]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  const auto run = [&](const std::string& name, int ranks, const Axes& axes) {
    const auto outcome = program.run(ranks, on_mesh(job.file(name), axes));
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job.metrics(name);
  };
  const auto alone = run("alone", 1, {});
  REQUIRE(alone.size() == 20);
  CHECK(alone.back()["loss"].get<double>() < 0.97 * alone.front()["loss"].get<double>());

  for (const int ranks : {2, 4, 8}) {
    for (const Axes& axes : meshes_of(ranks)) {
      const auto& [tensor, expert, width] = axes;
      const auto rows = run(fmt::format("r{}t{}e{}w{}", ranks, tensor, expert, width), ranks, axes);
      const auto worst = [&](const char* key) {
        return test::worst_relative(test::column(rows, key), test::column(alone, key));
      };
      WARN(fmt::format(
          "{} ranks, tensor {}, expert {}, expert_tensor {}: loss off by {:.1e}, grad_norm {:.1e}, "
          "aux {:.1e}",
          ranks, tensor, expert, width, worst("loss"), worst("grad_norm"), worst("aux_loss")));
      CHECK(worst("loss") < 1e-5);
      CHECK(worst("grad_norm") < 1e-4);
      CHECK(worst("aux_loss") < 1e-5);
      CHECK(worst("z_loss") < 1e-4);
    }
  }
}

TEST_CASE("overlap of the expert exchange changes no losses", "[slow][mesh]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  const auto run = [&](const std::string& name, const Axes& axes, const std::string& overlap) {
    auto arguments = on_mesh(job.file(name), axes);
    arguments.insert(arguments.end(), {"--set", "moe.overlap=" + overlap});
    const auto outcome = program.run(4, arguments);
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job.metrics(name);
  };
  for (const Axes& axes : {Axes{1, 4, 1}, Axes{2, 2, 2}}) {
    const std::string mesh = fmt::format("t{}e{}w{}", axes.tensor, axes.expert, axes.expert_tensor);
    const auto whole = run(mesh + "whole", axes, "none"), halves = run(mesh + "halves", axes, "halves");
    for (const char* key : {"loss", "grad_norm", "aux_loss", "z_loss"}) {
      CHECK(test::worst_relative(test::column(halves, key), test::column(whole, key)) < 1e-5);
    }
  }
}

TEST_CASE("a checkpoint of one mesh goes on on another as if nothing had happened", "[slow][resume]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  const auto finished = program.run(4, on_mesh(job.file("whole"), {2, 2}));
  INFO(finished.err);
  REQUIRE(finished.exit_code == 0);
  // The checkpoint of iteration 10 is copied to other outputs, which then go on from it.
  const auto resume = [&](const std::string& name, int ranks, const Axes& axes) {
    const auto arguments = on_mesh(job.file(name), axes);
    const std::string from = job.output("whole") + "/checkpoints", to = job.output(name) + "/checkpoints";
    std::filesystem::create_directories(to);
    std::filesystem::copy_file(from + "/step_00000010.h5", to + "/step_00000010.h5");
    const auto outcome = program.run(ranks, arguments);
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job.metrics(name);
  };
  const auto whole = job.metrics("whole");
  const std::vector<test::Json> rest(whole.begin() + 10, whole.end());
  const auto same = resume("same", 4, {2, 2});
  REQUIRE(same.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    for (const char* key : {"loss", "grad_norm", "aux_loss", "z_loss", "lr"})
      CHECK(same[i][key] == rest[i][key]);
  }
  CHECK(test::worst_relative(test::column(resume("one", 1, {}), "loss"), test::column(rest, "loss")) < 1e-5);
  CHECK(test::worst_relative(test::column(resume("data4", 4, {}), "loss"), test::column(rest, "loss")) <
        1e-5);
  CHECK(test::worst_relative(test::column(resume("widths", 4, {1, 2, 2}), "loss"),
                             test::column(rest, "loss")) < 1e-5);
}

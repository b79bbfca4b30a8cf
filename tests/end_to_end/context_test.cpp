#include <cmath>
#include <filesystem>

#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

// Context parallelism as users run it: samples of 2 to 60 tokens, packed, on ranks that cut each in up to 16
// pieces.

using namespace moebius;

namespace {

struct Mesh {
  int ranks, tensor, context, expert, pipeline = 1;

  [[nodiscard]] std::string name() const {
    return fmt::format("r{}t{}c{}e{}p{}", ranks, tensor, context, expert, pipeline);
  }
  [[nodiscard]] std::vector<std::string> train(const std::string& job) const {
    return {"train", job,
            "--set", fmt::format("parallel.tensor={}", tensor),
            "--set", fmt::format("parallel.context={}", context),
            "--set", fmt::format("parallel.expert={}", expert),
            "--set", fmt::format("parallel.pipeline={}", pipeline)};
  }
  [[nodiscard]] std::vector<std::string> infer() const {
    return {"--tensor", std::to_string(tensor), "--context", std::to_string(context),
            "--expert", std::to_string(expert)};
  }
};

/// 96 rows of all lengths from 2 to 60, short ones more often; some tokens weigh less, some are not trained.
std::string rows() {
  std::string text;
  for (int row = 0; row < 96; ++row) {
    const int length = row % 3 == 0 ? 2 + row * 7 % 59 : 2 + row * 5 % 11, step = 1 + row % 5;
    std::string ids, labels, scale;
    for (int i = 0; i < length; ++i) {
      const int id = (row * 11 + i * step) % 96;
      const char* comma = i == 0 ? "" : ",";
      ids += fmt::format("{}{}", comma, id);
      labels += fmt::format("{}{}", comma, (row + i) % 6 == 0 ? -100 : id);
      scale += fmt::format("{}{}", comma, (row + i) % 4 == 0 ? 0.25 : 1.0);
    }
    text += fmt::format("{{\"input_ids\":[{}],\"labels\":[{}],\"loss_scale\":[{}]}}\n", ids, labels, scale);
  }
  return text;
}

class ContextJob {
 public:
  explicit ContextJob(const test::TemporaryFolder& folder) : folder_(folder), program_(folder), job_(folder) {
    test::spill(folder / "mixed.jsonl", rows());
    const std::string file = fmt::format("[\"{}\"]", (folder / "mixed.jsonl").string());
    job_.settings["data"]["train"] = file;
    job_.settings["data"]["validation"] = file;
    job_.settings["eval"]["interval"] = "5";
    job_.settings["train"]["iterations"] = "10";
  }
  std::vector<test::Json> train(const Mesh& mesh) { return run(mesh, mesh.name()); }
  /// Goes on from what `from` has saved halfway; the rest of the rows.
  std::vector<test::Json> resume(const Mesh& mesh, const Mesh& from) {
    const std::string name = mesh.name() + "_from_" + from.name(), file = "/checkpoints/step_00000005.h5";
    std::filesystem::create_directories(job_.output(name) + "/checkpoints");
    std::filesystem::copy_file(job_.output(from.name()) + file, job_.output(name) + file);
    return run(mesh, name);
  }
  /// With more settings, "section.key=value".
  std::vector<test::Json> train(const Mesh& mesh, const std::vector<std::string>& settings) {
    std::string name = mesh.name();
    std::vector<std::string> arguments;
    for (const std::string& setting : settings) {
      arguments.insert(arguments.end(), {"--set", setting});
      name += "_" + setting.substr(setting.find('.') + 1);
    }
    std::erase(name, '"');
    return run(mesh, name, arguments);
  }
  /// What `command` says of the trained model.
  std::string infer(const std::string& command, const Mesh& mesh, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {command, job_.output("r1t1c1e1p1") + "/checkpoints/step_00000010.h5"});
    const auto of_mesh = mesh.infer();
    arguments.insert(arguments.end(), of_mesh.begin(), of_mesh.end());
    const auto outcome = program_.run(mesh.ranks, arguments);
    INFO(command << " on " << mesh.name() << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
  }
  std::vector<test::Json> score(const Mesh& mesh) {
    const std::string out = (folder_ / (mesh.name() + ".jsonl")).string();
    infer("score", mesh, {"--input", (folder_ / "mixed.jsonl").string(), "-o", out});
    return test::rows_of(test::slurp(out));
  }

 private:
  std::vector<test::Json> run(const Mesh& mesh, const std::string& name,
                              const std::vector<std::string>& more = {}) {
    auto arguments = mesh.train(job_.file(name));
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = program_.run(mesh.ranks, arguments);
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job_.metrics(name);
  }

  const test::TemporaryFolder& folder_;
  test::Program program_;
  test::TinyJob job_;
};

constexpr Mesh kAlone{1, 1, 1, 1};

}  // namespace

TEST_CASE("training on context ranks gives the losses of one rank", "[slow][mesh]") {
  const test::TemporaryFolder folder;
  ContextJob job(folder);
  const auto alone = job.train(kAlone);
  REQUIRE(alone.size() == 10);
  CHECK(alone.back()["loss"].get<double>() < 0.98 * alone.front()["loss"].get<double>());
  for (const Mesh& mesh :
       {Mesh{2, 1, 2, 1}, Mesh{2, 1, 2, 2}, Mesh{3, 1, 3, 1}, Mesh{4, 1, 4, 1}, Mesh{4, 1, 4, 4},
        Mesh{4, 2, 2, 1}, Mesh{4, 2, 2, 4}, Mesh{4, 1, 2, 2}, Mesh{8, 2, 2, 2}, Mesh{8, 2, 4, 4},
        Mesh{8, 1, 4, 2}, Mesh{8, 1, 8, 8}, Mesh{4, 1, 2, 2, 2}, Mesh{8, 2, 2, 4, 2}, Mesh{6, 2, 3, 2},
        Mesh{16, 2, 2, 4, 2}}) {
    const auto rows = job.train(mesh);
    const auto worst = [&](const char* key) {
      return test::worst_relative(test::column(rows, key), test::column(alone, key));
    };
    WARN(fmt::format("{}: loss off by {:.1e}, grad_norm {:.1e}, aux {:.1e}, z {:.1e}", mesh.name(),
                     worst("loss"), worst("grad_norm"), worst("aux_loss"), worst("z_loss")));
    CHECK(worst("loss") < 1e-5);
    CHECK(worst("grad_norm") < 1e-4);
    CHECK(worst("aux_loss") < 1e-5);
    CHECK(worst("z_loss") < 1e-4);
    CHECK(test::column(rows, "tokens") == test::column(alone, "tokens"));
    for (const std::size_t evaluated : {4, 9}) {
      CHECK(rows[evaluated]["eval_loss"].get<double>() ==
            test::Approx(alone[evaluated]["eval_loss"].get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("context ranks go with recompute, halves of the expert exchange and every schedule",
          "[slow][mesh]") {
  const test::TemporaryFolder folder;
  ContextJob job(folder);
  const auto alone = job.train(kAlone);
  using Settings = std::vector<std::string>;
  const std::vector<std::pair<Mesh, Settings>> runs{
      {{4, 2, 2, 2}, {"train.recompute=\"full\"", "train.recompute_layers=2"}},
      {{4, 2, 2, 2}, {"train.recompute=\"selective\"", "moe.overlap=\"halves\""}},
      {{4, 1, 4, 4}, {"moe.overlap=\"halves\""}},
      {{8, 2, 2, 2, 2}, {"parallel.schedule=\"zero-bubble\"", "moe.overlap=\"halves\""}},
  };
  for (const auto& [mesh, settings] : runs) {
    const auto rows = job.train(mesh, settings);
    CAPTURE(mesh.name(), settings);
    CHECK(test::worst_relative(test::column(rows, "loss"), test::column(alone, "loss")) < 1e-5);
    CHECK(test::worst_relative(test::column(rows, "grad_norm"), test::column(alone, "grad_norm")) < 1e-4);
  }
}

TEST_CASE("a checkpoint of context ranks goes on on one, and the other way round", "[slow][resume]") {
  const test::TemporaryFolder folder;
  ContextJob job(folder);
  const auto alone = job.train(kAlone);
  const Mesh split{4, 2, 2, 4};
  (void)job.train(split);
  for (const auto& [mesh, from] : {std::pair{kAlone, split}, {Mesh{4, 1, 2, 2}, kAlone}}) {
    const auto rest = job.resume(mesh, from);
    REQUIRE(rest.size() == 5);
    const std::vector<test::Json> expected(alone.begin() + 5, alone.end());
    CHECK(test::worst_relative(test::column(rest, "loss"), test::column(expected, "loss")) < 1e-5);
    CHECK(test::worst_relative(test::column(rest, "grad_norm"), test::column(expected, "grad_norm")) < 1e-4);
  }
}

TEST_CASE("scores and continuations on context ranks are those of one rank", "[slow][mesh]") {
  const test::TemporaryFolder folder;
  ContextJob job(folder);
  (void)job.train(kAlone);
  const auto alone = job.score(kAlone);
  const std::vector<std::string> prompts{"--ids", (folder / "prompts.jsonl").string(), "--json",
                                         "--max-new-tokens", "6"};
  test::spill(folder / "prompts.jsonl",
              "{\"input_ids\":[3,5,7,9]}\n{\"input_ids\":[11]}\n{\"input_ids\":[2,4,6]}\n");
  const std::string continued = job.infer("generate", kAlone, prompts);
  REQUIRE(test::rows_of(continued).size() == 3);
  for (const Mesh& mesh : {Mesh{2, 1, 2, 2}, Mesh{4, 1, 4, 1}, Mesh{4, 2, 2, 4}, Mesh{4, 1, 2, 2}}) {
    const auto scored = job.score(mesh);
    REQUIRE(scored.size() == alone.size());
    double worst = 0;
    for (std::size_t row = 0; row < alone.size(); ++row) {
      const auto &got = scored[row]["logprobs"], &expected = alone[row]["logprobs"];
      REQUIRE(got.size() == expected.size());
      for (std::size_t t = 1; t < got.size(); ++t)
        worst = std::max(worst, std::abs(got[t].get<double>() - expected[t].get<double>()));
    }
    WARN(fmt::format("{}: log-probabilities off by {:.1e}", mesh.name(), worst));
    CHECK(worst < 2e-5);
    CHECK(job.infer("generate", mesh, prompts) == continued);
  }
}

#include "training/metrics.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"
#include "training/progress.h"
#include "training/tensorboard.h"

using namespace moebius;
using namespace moebius::training;

namespace {

Metrics row(std::int64_t iteration, double loss) {
  Metrics metrics{iteration, {}};
  metrics.add("loss", loss);
  return metrics;
}

}  // namespace

TEST_CASE("metrics keep all digits and write no NaN", "[training][metrics]") {
  Metrics metrics = row(3, 0.1 + 0.2);
  metrics.add("grad_norm", std::nan(""));
  CHECK(metrics.json() == R"({"iteration":3,"loss":0.30000000000000004,"grad_norm":null})");
}

TEST_CASE("a resumed run writes each iteration once", "[training][metrics]") {
  const test::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  {
    MetricsFile file(path, 0);
    for (int i = 1; i <= 4; ++i) file.append(row(i, i));
  }
  std::ofstream(path, std::ios::app) << R"({"iteration":5,"lo)";  // torn by a kill
  MetricsFile resumed(path, 2);
  resumed.append(row(3, 30));
  CHECK(read_file(path, 1000) ==
        "{\"iteration\":1,\"loss\":1}\n{\"iteration\":2,\"loss\":2}\n{\"iteration\":3,\"loss\":30}\n");
}

TEST_CASE("TensorBoard records carry the masked CRC-32C of their bytes", "[training][tensorboard]") {
  const test::TemporaryFolder folder;
  TensorBoardFile(folder.path(), 0).append(row(1, 2.5));
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) file = entry.path();
  const std::string bytes = read_file(file, 10000);
  CHECK(bytes.find("brain.Event:2") != std::string::npos);
  CHECK(bytes.find("train/loss") != std::string::npos);
  // The first record: 26 bytes long, and the masked CRC-32C of that length (computed with an independent
  // program).
  CHECK(bytes.substr(0, 12) == std::string("\x1a\0\0\0\0\0\0\0\x12\x9b\xd8\x2d", 12));
}

TEST_CASE("progress tells place, numbers and time left", "[training][progress]") {
  Metrics metrics = row(50, 1.25);
  metrics.add("seconds", 0.5);
  CHECK(progress_line(metrics, 100, 75) == "iteration 50/100  loss 1.2500  0.500 s  left 1m15s");
  CHECK(progress_bar(metrics, 100, 75, 10) == "[=====     ] 50/100  loss 1.2500  left 1m15s");
}

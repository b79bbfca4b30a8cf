// The same rows in every kind of file, folders and patterns of files, and pretraining on plain text.
#include <algorithm>
#include <sstream>

#include "data/rows/column_file.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"
#include "tests/support/program.h"
#include "tests/support/repository.h"

namespace moebius::test {
namespace {

namespace fs = std::filesystem;

/// A job with a tokenizer and a model of random weights.
class TextJob {
 public:
  TextJob() {
    const TinyJob config_and_rows(folder);
    Json config = Json::parse(slurp(folder / "config.json"));
    config["vocab_size"] = 1024;
    spill(folder / "config.json", config.dump());
    fs::copy(repository() / "jobs/quickstart", folder / "tokenizer");
    spill(folder / "job.toml", R"([job]
output = "out"
[model]
config = "config.json"
tokenizer = "tokenizer"
init = "random"
[data]
max_length = 64
template = "qwen3"
[train]
global_batch_size = 4
iterations = 3
[checkpoint]
interval = 0
[log]
tensorboard = false
)");
  }

  [[nodiscard]] Outcome run(int ranks, const std::string& verb,
                            const std::vector<std::string>& settings) const {
    std::vector<std::string> command{verb, "job.toml"};
    for (const std::string& setting : settings) command.insert(command.end(), {"--set", setting});
    Outcome outcome = Program(folder).run(ranks, command);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome;
  }
  [[nodiscard]] std::string rendered(int ranks, const std::string& file) const {
    return run(ranks, "render", {"data.train=[\"" + file + "\"]"}).out;
  }

  TemporaryFolder folder;
};

std::int64_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("the same rows are rendered the same from every kind of file", "[slow][data]") {
  const TextJob job;
  spill(job.folder / "rows.jsonl",
        "{\"query\": \"say \\\"a,b\\\"\", \"response\": \"1\\n2\"}\n\n{\"query\": \"\", \"response\": "
        "\"x\"}\n");
  spill(job.folder / "rows.json",
        "[ {\"query\": \"say \\\"a,b\\\"\",\n \"response\": \"1\\n2\"},\n{\"query\": \"\", \"response\": "
        "\"x\"}]\n");
  spill(job.folder / "rows.csv", "query,response\r\n\"say \"\"a,b\"\"\",\"1\n2\"\r\n,x\r\n");
  const std::string expected = job.rendered(1, "rows.jsonl");
  CHECK(lines(expected) == 2);
  for (const int ranks : {1, 3}) {
    CHECK(job.rendered(ranks, "rows.json") == expected);
    CHECK(job.rendered(ranks, "rows.csv") == expected);
  }
  if (data::parquet_reader().empty()) return;
  for (const auto& entry : fs::directory_iterator(repository() / "tests/golden/parquet"))
    fs::copy(entry.path(), job.folder / ("golden_" + entry.path().filename().string()));
  const std::string golden = job.rendered(1, "golden_rows.jsonl");
  CHECK(lines(golden) == 7);
  for (const char* kind : {"none", "zstd", "snappy", "gzip", "one_group"}) {
    CHECK(job.rendered(kind[0] == 'z' ? 3 : 1, fmt::format("golden_rows.{}.parquet", kind)) == golden);
  }
}

TEST_CASE("folders and patterns of files are one dataset", "[slow][data]") {
  const TextJob job;
  fs::create_directories(job.folder / "texts");
  for (const char* name : {"b.jsonl", "a.jsonl", "c.jsonl"}) {
    std::string rows;
    for (int i = 0; i < 5; ++i)
      rows += fmt::format("{{\"query\": \"{} {}\", \"response\": \"r\"}}\n", name, i);
    spill(job.folder / "texts" / name, name[0] == 'c' ? "" : rows);
  }
  const std::string both = job.rendered(1, "texts/a.jsonl") + job.rendered(1, "texts/b.jsonl");
  CHECK(lines(both) == 10);
  CHECK(job.rendered(2, "texts") == both);
  CHECK(job.rendered(1, "texts/*.jsonl") == both);
  const Outcome trained = job.run(2, "train", {"data.train=[\"texts#8\"]", "data.packing=false"});
  CHECK(trained.err.find("training: 8 samples") != std::string::npos);
}

TEST_CASE("render --html writes one page, the same on any number of ranks", "[slow][data]") {
  const TextJob job;
  std::string rows = "{\"query\": \"a < b\", \"response\": \"<script>\"}\n{\"messages\": []}\n";
  for (int i = 0; i < 300; ++i) rows += fmt::format("{{\"query\": \"{}\", \"response\": \"r\"}}\n", i);
  spill(job.folder / "rows.jsonl", rows);
  std::map<int, std::string> pages;
  for (const int ranks : {1, 3}) {
    const Outcome outcome =
        Program(job.folder)
            .run(ranks, {"render", "job.toml", "--set", "data.train=[\"rows.jsonl\"]", "--html", "p.html"});
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.out.empty());
    pages[ranks] = slurp(job.folder / "p.html");
  }
  CHECK(pages[1] == pages[3]);
  CHECK(pages[1].ends_with("</html>\n"));
  CHECK(pages[1].find("rows.jsonl:2 left out: no messages") != std::string::npos);
  CHECK(pages[1].find("rows.jsonl:200") != std::string::npos);
  CHECK(pages[1].find("rows.jsonl:201") == std::string::npos);
  CHECK(pages[1].find("<script>fold") == std::string::npos);
  CHECK(Program(job.folder).run(1, {"render", "job.toml", "--html", "p.html", "-o", "x"}).exit_code == 2);
}

TEST_CASE("pretraining takes plain text, one row a line", "[slow][data]") {
  const TextJob job;
  std::string text;
  for (int i = 0; i < 20; ++i) text += fmt::format("Line {} of the text.\n", i);
  spill(job.folder / "text.txt", text);
  const std::vector<std::string> settings{"data.train=[\"text.txt\"]", "objective.kind=pretrain"};
  const std::string shown = job.run(1, "render", settings).out;
  REQUIRE(lines(shown) == 20);
  const Json row = Json::parse(shown.substr(0, shown.find('\n')));
  CHECK(row["text"].get<std::string>().starts_with("Line 0 of the text."));
  CHECK(row["labels"][0] == -100);
  for (std::size_t i = 1; i < row["labels"].size(); ++i) CHECK(row["labels"][i] == row["input_ids"][i]);
  CHECK(job.run(2, "render", settings).out == shown);
  (void)job.run(2, "train", settings);
  CHECK(lines(slurp(job.folder / "out/metrics.jsonl")) == 3);
  // the same file and template as a conversation: other tokens, so not what the cache holds of it
  const Outcome chat = job.run(1, "train", {"data.train=[\"text.txt\"]", "job.output=chat"});
  CHECK(chat.err.find("20 of 20 rows usable") != std::string::npos);
}

TEST_CASE("long texts are split into samples, and drawn whole", "[slow][data]") {
  const TextJob job;
  std::string text;
  for (int i = 0; i < 6; ++i) text += "Word" + std::string(std::size_t(40 * i), 'a') + "\n";
  spill(job.folder / "text.txt", text);
  const std::vector<std::string> settings{"data.train=[\"text.txt\"]", "objective.kind=pretrain",
                                          "data.max_length=20",        "data.truncation=split",
                                          "data.packing=false",        "train.iterations=1"};
  const std::string shown = job.run(1, "render", settings).out;
  REQUIRE(lines(shown) == 6);
  std::size_t samples = 0;
  std::istringstream rows(shown);
  for (std::string line; std::getline(rows, line);) {
    const Json row = Json::parse(line);
    if (!row.contains("split")) ++samples;
    for (const Json& part : row.value("split", Json::array())) {
      ++samples;
      CHECK(part["labels"][0] == -100);
      CHECK(part["input_ids"].size() <= 20);
    }
  }
  CHECK(samples > 6);
  CHECK(job.run(3, "render", settings).out == shown);
  const Outcome trained = job.run(2, "train", settings);
  CHECK(trained.err.find(fmt::format("6 of 6 rows usable, in {} samples", samples)) != std::string::npos);
  CHECK(trained.err.find(fmt::format("training: {} samples", samples)) != std::string::npos);
  std::vector<std::string> twice = settings;
  twice[0] = "data.train=[\"text.txt#12\"]";
  CHECK(job.run(2, "train", twice).err.find(fmt::format("training: {} samples", 2 * samples)) !=
        std::string::npos);
}

}  // namespace moebius::test

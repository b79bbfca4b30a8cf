// Whole rows against what ms-swift 4.6.0 made of them: tokens, labels and weights, one by one, and the same
// rows left out. moebius judges each row on its own where ms-swift looks at the columns of the whole file; no
// row of these cases is touched by that, so none is excepted.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "data/encode/encoder.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/unpacked_tokenizer.h"

namespace moebius::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

struct Model {
  Tokenizer tokenizer;
  std::string eos;
};

/// Qwen's tokenizer with GLM's special tokens behind its own, in the order that the cases' ids have.
Tokenizer with_glm_tokens(const fs::path& shared) {
  const test::TemporaryFolder folder;
  test::unpack_tokenizer(shared, "qwen3", folder / "tokenizer.json");
  json tokenizer = read_json(folder / "tokenizer.json");
  json& added = tokenizer["added_tokens"];
  std::int64_t id = 0;
  for (const json& token : added) id = std::max(id, token["id"].get<std::int64_t>());
  for (const char* content :
       {"[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
        "<|observation|>", "/nothink", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"}) {
    json token = added.front();
    token["content"] = content;
    token["id"] = ++id;
    token["special"] = true;
    token["normalized"] = false;
    added.push_back(token);
  }
  return Tokenizer::from_text("glm", tokenizer.dump());
}

Model model_of(const fs::path& shared, const std::string& name) {
  if (name == "fake_glm4_5") return {with_glm_tokens(shared), "<|endoftext|>"};
  if (name == "llama3_1") return {test::unpacked_tokenizer(shared, name), "<|eot_id|>"};
  if (name == "deepseek_v3") return {test::unpacked_tokenizer(shared, name), "<｜end▁of▁sentence｜>"};
  return {test::unpacked_tokenizer(shared, name == "qwen2_5" ? name : "qwen3"), "<|im_end|>"};
}

job::Job job_of(const json& settings) {
  job::Job job;
  job.data.template_name = settings["template"];
  job.data.agent_template = settings["agent_template"];
  job.data.loss_scale = settings["loss_scale"];
  if (settings["mode"] == "pt") job.objective.kind = job::ObjectiveKind::pretrain;
  if (settings["mode"] == "dpo") job.objective.kind = job::ObjectiveKind::dpo;
  job.started_on = settings.value("today_date", "");
  job.data.system = settings["system"];
  job.data.max_length = settings["max_length"];
  const std::string truncation = settings["truncation"];
  job.data.truncation = truncation == "left"    ? job::Truncation::left
                        : truncation == "right" ? job::Truncation::right
                        : truncation == "split" ? job::Truncation::split
                                                : job::Truncation::remove;
  const auto flag = [&](const char* name) -> std::optional<bool> {
    if (!settings.contains(name)) return std::nullopt;
    return settings[name].get<bool>();
  };
  job.data.enable_thinking = flag("enable_thinking");
  job.data.preserve_thinking = flag("preserve_thinking");
  job.data.add_non_thinking_prefix = flag("add_non_thinking_prefix").value_or(true);
  job.data.disable_ignore_empty_think = flag("disable_ignore_empty_think").value_or(false);
  job.data.response_prefix = settings.value("response_prefix", "");
  job.data.is_binary_loss_scale = flag("is_binary_loss_scale");
  return job;
}

/// The case's rows as a file of the format that ms-swift read.
fs::path rows_file(const fs::path& folder, const json& settings, const fs::path& scratch) {
  const std::string format = settings.value("format", "jsonl");
  if (format != "json") return folder / ("rows." + format);
  fs::path path = scratch / "rows.json";
  std::ofstream file(path);
  std::string separator = "[";
  for (const std::string& line : lines_of(folder / "rows.jsonl"))
    file << std::exchange(separator, ",\n") << line;
  file << "\n]\n";
  return path;
}

template <class T>
std::vector<T> listed(const json& list) {
  return list.is_null() ? std::vector<T>{} : list.get<std::vector<T>>();
}

void check_sample(const SampleView& sample, const json& expected) {
  CHECK(std::ranges::equal(sample.ids, listed<std::int32_t>(expected["input_ids"])));
  CHECK(std::ranges::equal(sample.labels, listed<std::int32_t>(expected["labels"])));
  CHECK(std::ranges::equal(sample.loss_scale, listed<float>(expected["loss_scale"])));
}

void check_row(const Encoded& encoded, const json& expected) {
  const auto* dropped = std::get_if<Dropped>(&encoded);
  INFO("left out: " << (dropped == nullptr ? "no" : dropped->text()));
  REQUIRE((dropped != nullptr) == expected.contains("dropped"));
  if (dropped != nullptr) return;
  if (expected.contains("split")) {
    const std::vector<Sample>& parts = std::get<Parts>(encoded).samples;
    REQUIRE(parts.size() == expected["split"].size());
    for (std::size_t i = 0; i < parts.size(); ++i) check_sample(parts[i].view(), expected["split"][i]);
    return;
  }
  const std::vector<SampleView> sequences = std::get<Sample>(encoded).view().sequences();
  const bool is_pair = expected.contains("chosen");
  REQUIRE(sequences.size() == (is_pair ? 2 : 1));
  check_sample(sequences[0], is_pair ? expected["chosen"] : expected);
  if (is_pair) check_sample(sequences[1], expected["rejected"]);
}

std::int64_t check_case(const fs::path& folder, const Model& model, const fs::path& scratch) {
  const json settings = read_json(folder / "settings.json");
  const job::Job job = job_of(settings);
  const Encoder encoder(&model.tokenizer, encode_settings(job, {}),
                        tokenizer_words(&model.tokenizer, {.eos_token = model.eos}));
  const RowFile file(rows_file(folder, settings, scratch));
  RowReader reader(file);
  RowParser parser(file, row_settings(job));
  std::int64_t rows = 0;
  for (const std::string& line : lines_of(folder / "expected.jsonl")) {
    INFO(folder.filename().string() << " row " << rows + 1);
    const std::optional<RawRow> raw = reader.next();
    REQUIRE(raw.has_value());
    check_row(encoder.encode(parser.parse(*raw)), json::parse(line));
    ++rows;
  }
  CHECK_FALSE(reader.next().has_value());
  return rows;
}

}  // namespace

TEST_CASE("rows are encoded as ms-swift encodes them") {
  const std::optional<fs::path> shared = test::shared_folder();
  if (!shared) return;
  const test::TemporaryFolder scratch;
  std::map<std::string, Model> models;
  std::int64_t cases = 0;
  std::int64_t rows = 0;
  for (const auto& entry : fs::directory_iterator(*shared / "data/fixtures/swift")) {
    const json settings = read_json(entry.path() / "settings.json");
    const std::string name = settings["model"];
    auto found = models.find(name);
    if (found == models.end()) found = models.emplace(name, model_of(*shared, name)).first;
    rows += check_case(entry.path(), found->second, scratch.path());
    ++cases;
  }
  CHECK(cases == 145);
  CHECK(rows >= 1100);
}

}  // namespace moebius::data

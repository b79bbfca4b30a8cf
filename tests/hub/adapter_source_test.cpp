#include "hub/adapter_source.h"

#include <cmath>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "checkpoint/slabs.h"
#include "hub/merged_weights.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/safetensors.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;
using Json = nlohmann::json;

namespace {

/// Values of every parameter of a table, in memory.
class MemoryWeights final : public WeightSource {
 public:
  MemoryWeights(models::ParameterTable table, unsigned seed) : table_(std::move(table)) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (const models::Parameter& parameter : table_) {
      auto& values = values_.emplace_back();
      for (std::int64_t i = 0; i < parameter.size(); ++i) values.push_back(normal(engine));
    }
  }
  [[nodiscard]] const models::ParameterTable& table() const override { return table_; }
  [[nodiscard]] Dtype stored_dtype(std::size_t) const override { return Dtype::float32; }
  void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const override {
    for (std::size_t i = 0; i < table_.size(); ++i) {
      for (const models::Slab& piece : checkpoint::pieces_of(wanted[i], 50)) {
        std::vector<float> elements(std::size_t(piece.size()));
        for (const models::Run& run : models::runs_of(table_[i], piece))
          std::copy_n(values_[i].data() + run.whole, run.count, elements.data() + run.local);
        sink(i, piece, {Dtype::float32, std::as_bytes(std::span(elements))});
      }
    }
  }
  [[nodiscard]] const std::vector<float>& values(std::size_t row) const { return values_[row]; }

 private:
  models::ParameterTable table_;
  std::vector<std::vector<float>> values_;
};

/// Everything of a source, by row.
std::vector<std::vector<float>> all_of(const WeightSource& source) {
  std::vector<std::vector<float>> values;
  std::vector<models::Slab> wanted;
  for (const models::Parameter& parameter : source.table()) {
    values.emplace_back(std::size_t(parameter.size()));
    wanted.push_back(checkpoint::whole_slab(parameter.shape));
  }
  source.read(wanted, [&](std::size_t row, const models::Slab& slab, const checkpoint::Elements& elements) {
    const auto* from = reinterpret_cast<const float*>(elements.bytes.data());
    for (const models::Run& run : models::runs_of(source.table()[row], slab))
      std::copy_n(from + run.local, run.count, values[row].data() + run.whole);
  });
  return values;
}

const models::AdapterSettings kSettings{
    .rank = 2, .alpha = 3, .targets = {"q_proj", "o_proj", "up_proj", "down_proj", "gate"}};

struct Case {
  Case()
      : model(models::parameter_table(test::tiny_moe())),
        factors(models::adapter_table(model, kSettings), 3) {
    for (std::size_t row = 0; row < factors.table().size(); ++row) {
      const float* values = factors.values(row).data();
      for (const models::HubTensor& tensor : models::hub_tensors(factors.table()[row])) {
        std::int64_t count = 1;
        for (const std::int64_t extent : tensor.shape) count *= extent;
        tensors.push_back(
            {tensor.name, "F32", tensor.shape, test::bytes_of(std::vector<float>(values, values + count))});
        values += count;
      }
    }
    config = Json::parse(adapter_config_text(model, kSettings, "/models/tiny"));
  }
  /// Writes the folder and opens it.
  [[nodiscard]] AdapterSource open() const {
    test::write_bytes(folder / kAdapterTensors, test::safetensors_bytes(tensors));
    test::write_bytes(folder / kAdapterConfig, config.dump());
    return AdapterSource(folder.path());
  }
  /// What is said when the factors are wanted.
  [[nodiscard]] std::string complaint() const {
    try {
      (void)open().weights(model);
    } catch (const InputError& error) {
      const std::string text = error.what(), name = folder.path().string();
      return text.starts_with(name) ? text.substr(name.size()) : text;
    }
    return "";
  }

  test::TemporaryFolder folder;
  models::ParameterTable model;
  MemoryWeights factors;
  std::vector<test::RawTensor> tensors;
  Json config;
};

}  // namespace

TEST_CASE("an adapter's folder gives back its settings and factors", "[hub][adapter]") {
  const Case c;
  const AdapterSource source = c.open();
  CHECK(source.settings().rank == 2);
  CHECK(source.settings().alpha == 3);
  CHECK(source.settings().scale() == 1.5);
  CHECK(source.base() == "/models/tiny");
  CHECK(models::target_modules(c.model, source.settings().targets) ==
        models::target_modules(c.model, kSettings.targets));
  CHECK(AdapterSource::is_one(c.folder.path()));
  const auto read = all_of(*source.weights(c.model));
  REQUIRE(read.size() == c.factors.table().size());
  for (std::size_t row = 0; row < read.size(); ++row) CHECK(read[row] == c.factors.values(row));
}

TEST_CASE("adapters that are not whole or not built are refused by name", "[hub][adapter]") {
  Case c;
  SECTION("a factor is missing") {
    c.tensors.pop_back();
    CHECK(c.complaint().find(" of the model's ") != std::string::npos);
    CHECK(c.complaint().find("are missing: 'base_model.model.model.layers.2.mlp") != std::string::npos);
  }
  SECTION("a factor of another rank") {
    c.config["r"] = 4;
    CHECK(c.complaint().find("tensors do not fit the model") != std::string::npos);
  }
  SECTION("a factor too many") {
    c.tensors.push_back({"base_model.model.lm_head.lora_A.weight", "F32", {1, 1}, std::string(4, '\0')});
    CHECK(c.complaint() ==
          "/adapter_model.safetensors: 1 tensors belong to no layer that target_modules names: "
          "'base_model.model.lm_head.lora_A.weight'");
  }
  SECTION("no file of tensors") {
    (void)c.open();
    std::filesystem::remove(c.folder / kAdapterTensors);
    CHECK_THROWS_AS(AdapterSource(c.folder.path()), InputError);
  }
  const auto set = [&](const char* key, const Json& value) {
    c.config[key] = value;
    return c.complaint();
  };
  SECTION("DoRA") {
    CHECK(set("use_dora", true) == "/adapter_config.json: use_dora = true: is not built");
  }
  SECTION("another kind") {
    CHECK(set("peft_type", "IA3") ==
          "/adapter_config.json: peft_type = \"IA3\": adapters that are not LORA are not built");
  }
  SECTION("ranks that differ") {
    CHECK(set("rank_pattern", {{"q_proj", 4}}) ==
          "/adapter_config.json: rank_pattern = {\"q_proj\":4}: is not built");
  }
  SECTION("a target that there is not") {
    CHECK(set("target_modules", {"query"})
              .starts_with("/adapter_config.json: target_modules: 'query' is no linear layer of the model"));
  }
  SECTION("a regular expression") {
    CHECK(set("target_modules", ".*q_proj") ==
          "/adapter_config.json: target_modules = \".*q_proj\": regular expressions are not built");
  }
}

TEST_CASE("merged weights are w + scale b a, whatever is read of them", "[hub][adapter]") {
  const Case c;
  const auto base = std::make_unique<MemoryWeights>(c.model, 5);
  const MemoryWeights copy = *base;
  const MergedWeights merged(std::make_unique<MemoryWeights>(copy),
                             std::make_unique<MemoryWeights>(c.factors), kSettings);
  const auto read = all_of(merged);
  std::map<std::string, std::size_t> row_of;
  for (std::size_t i = 0; i < c.factors.table().size(); ++i) row_of[c.factors.table()[i].name] = i;
  int adapted = 0;
  for (std::size_t row = 0; row < c.model.size(); ++row) {
    const models::Parameter& parameter = c.model[row];
    const std::vector<std::string> names = models::module_names(parameter);
    const std::int64_t in = parameter.shape.back();
    double worst = 0;
    for (std::int64_t i = 0; i < parameter.size(); ++i) {
      double expected = double(copy.values(row)[std::size_t(i)]);
      if (parameter.shape.size() > 1) {
        const std::int64_t out = parameter.shape[parameter.shape.size() - 2], line = i / in;
        const auto part = std::size_t(line / out) % names.size();
        const std::int64_t expert = line / out / std::int64_t(names.size());
        if (const auto a = row_of.find(names[part] + ".a"); a != row_of.end()) {
          const std::vector<float>&va = c.factors.values(a->second), &vb = c.factors.values(a->second + 1);
          for (std::int64_t r = 0; r < 2; ++r)
            expected += 1.5 * double(vb[std::size_t((expert * out + line % out) * 2 + r)]) *
                        double(va[std::size_t((expert * 2 + r) * in + i % in)]);
          adapted += i == 0 ? 1 : 0;
        }
      }
      worst = std::max(worst, std::abs(expected - double(read[row][std::size_t(i)])));
    }
    INFO(parameter.name);
    CHECK(worst < 2e-6);
  }
  CHECK(adapted == 3 + 3 + 1 + 2 * 1 + 2);  // rows that begin with an adapted module
}

#include "hub/file_plan.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tests/hub/test_model.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;

namespace {

std::vector<Dtype> all(Dtype dtype) {
  return std::vector<Dtype>(6, dtype);
}

/// The tensors of small_table in the plan's order, as a file of it holds them.
std::string file_bytes(const FilePlan& plan, std::size_t index) {
  return plan.files[index].header +
         std::string(std::size_t(plan.files[index].size) - plan.files[index].header.size(), 'x');
}

}  // namespace

TEST_CASE("a model that fits one file has no index and no number in its name", "[plan]") {
  const FilePlan plan = plan_files(test::small_table(), all(Dtype::float32), 1 << 20);
  REQUIRE(plan.files.size() == 1);
  CHECK(plan.files[0].name == "model.safetensors");
  CHECK(index_text(plan).empty());
  std::int64_t elements = 0;
  for (const models::Parameter& parameter : test::small_table()) elements += parameter.size();
  CHECK(plan.tensor_bytes == 4 * elements);
  CHECK(plan.files[0].header.size() % 8 == 0);
}

TEST_CASE("files are filled in the order of the table up to their limit", "[plan]") {
  // rows: 512, 32, 384, 256 bytes; then experts of 192 bytes a tensor
  const FilePlan plan = plan_files(test::small_table(), all(Dtype::float32), 928);
  CHECK(plan.files[0].name == "model-00001-of-00008.safetensors");
  std::vector<std::size_t> counts;
  for (const FilePlan::File& file : plan.files) counts.push_back(file.tensors.size());
  CHECK(counts == std::vector<std::size_t>{3, 4, 4, 4, 4, 4, 4, 1});
  const nlohmann::json index = nlohmann::json::parse(index_text(plan));
  CHECK(index["metadata"]["total_size"] == plan.tensor_bytes);
  CHECK(index["weight_map"].size() == 28);
  CHECK(index["weight_map"]["model.layers.0.self_attn.o_proj.weight"] == "model-00001-of-00008.safetensors");
  const FilePlan each = plan_files(test::small_table(), all(Dtype::float32), 1);
  CHECK(each.files.size() == 28);  // a tensor longer than the limit has a file alone
}

TEST_CASE("a planned file is one that the reader accepts, wider types first", "[plan]") {
  const test::TemporaryFolder folder;
  std::vector<Dtype> dtypes = all(Dtype::bfloat16);
  dtypes[1] = Dtype::float32;
  dtypes[3] = Dtype::float64;
  const FilePlan plan = plan_files(test::small_table(), dtypes, 700);
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    test::write_bytes(folder / plan.files[i].name, file_bytes(plan, i));
    const SafetensorsFile file(folder / plan.files[i].name);
    for (const TensorInfo& tensor : file.tensors()) {
      CHECK(tensor.bytes.begin % size_of(*tensor.dtype) == 0);
    }
  }
  CHECK(plan.files[0].tensors[0].name == "model.layers.0.input_layernorm.weight");
}

TEST_CASE("the elements of a parameter lie, tensor by tensor, where the headers say", "[plan]") {
  const models::ParameterTable table = test::small_table();
  const FilePlan plan = plan_files(table, all(Dtype::float32), 900);
  std::map<std::string, std::pair<std::size_t, std::int64_t>> headers;  // tensor -> file and byte
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    for (const TensorInfo& tensor : plan.files[i].tensors) {
      headers[tensor.name] = {i, std::int64_t(plan.files[i].header.size()) + tensor.bytes.begin};
    }
  }
  const std::size_t row = 4;  // [8, 2, 6, 8]: tensors of 48 elements
  const std::vector<FileSpan> spans = spans_of(plan, table[row], row, {40, 150});
  REQUIRE(spans.size() == 4);
  const std::vector<Range> elements{{40, 48}, {48, 96}, {96, 144}, {144, 150}};
  const std::vector<models::HubTensor> tensors = models::hub_tensors(table[row]);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    CHECK(spans[i].elements == elements[i]);
    const auto [file, begin] = headers.at(tensors[i].name);
    CHECK(spans[i].file == file);
    CHECK(spans[i].offset == begin + (elements[i].begin - std::int64_t(i) * 48) * 4);
  }
  CHECK(spans_of(plan, table[row], row, {7, 7}).empty());
}

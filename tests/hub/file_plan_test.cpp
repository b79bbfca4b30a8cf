#include "hub/file_plan.h"

#include <map>
#include <nlohmann/json.hpp>

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

TEST_CASE("every byte is written by one rank, about as many by each", "[plan]") {
  const FilePlan plan = plan_files(test::small_table(), all(Dtype::float32), 1000);
  for (const std::int64_t ranks : {1, 3, 8}) {
    for (const std::int64_t max_bytes : {40, 100, 1 << 20}) {
      CAPTURE(ranks, max_bytes);
      std::map<std::size_t, std::int64_t> rows;  // of each tensor, in order
      std::int64_t most = 0;
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        std::int64_t bytes = 0;
        for (const Chunk& chunk : chunks_of_rank(plan, max_bytes, ranks, rank)) {
          CHECK(rows[chunk.tensor] == chunk.rows.begin);
          rows[chunk.tensor] = chunk.rows.end;
          bytes += chunk.bytes;
          CHECK((chunk.bytes <= max_bytes || chunk.rows.size() == 1));
        }
        most = std::max(most, bytes);
      }
      for (std::size_t i = 0; i < plan.tensors.size(); ++i) CHECK(rows[i] == plan.tensors[i].hub.shape[0]);
      CHECK(most <=
            plan.tensor_bytes / ranks + std::max<std::int64_t>(max_bytes < 1000 ? max_bytes : 512, 64));
    }
  }
}

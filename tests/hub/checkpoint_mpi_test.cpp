#include <filesystem>
#include <fmt/format.h>
#include <string>

#include "base/error.h"
#include "hub/model_source.h"
#include "hub/write.h"
#include "models/models.h"
#include "tests/hub/test_model.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"
#include "tests/support/shared_temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;
namespace fs = std::filesystem;

namespace {

/// A folder with weights of each type that may travel, and files with bytes that must.
void write_source(const fs::path& folder, const std::vector<Dtype>& dtypes) {
  fs::create_directories(folder);
  test::write_bytes(folder / "model.safetensors",
                    test::safetensors_bytes(test::small_hub_tensors(test::small_table(), dtypes)));
  test::write_bytes(folder / "config.json", "{ \"torch_dtype\":\"bfloat16\"}\r\n");
  test::write_bytes(folder / "tokenizer.json", std::string("{\"\xc3\xa9\": \"\\u0000\"}\n"));
  test::write_bytes(folder / "chat_template.jinja", "");
}

}  // namespace

TEST_CASE("import then export gives the same tensors bit for bit and the same files byte for byte") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  const fs::path in = folder.path() / "in", out = folder.path() / "out", file = folder.path() / "model.h5";
  const std::vector<Dtype> dtypes{Dtype::bfloat16, Dtype::float32,  Dtype::bfloat16,
                                  Dtype::float32,  Dtype::bfloat16, Dtype::float32};
  if (cluster.rank() == 0) write_source(in, dtypes);
  cluster.barrier("source");

  ModelSource source(in);
  CHECK_FALSE(source.is_checkpoint());
  CHECK(source.config_name() == (in / "config.json").string());
  const HubFolder hub(in);
  import_model(HubWeights(hub, test::small_table()), source.files(), file, cluster);

  ModelSource imported(file);
  CHECK(imported.is_checkpoint());
  CHECK(imported.files() == source.files());
  const std::unique_ptr<WeightSource> weights = imported.weights(test::small_table());
  for (std::size_t i = 0; i < dtypes.size(); ++i) CHECK(weights->stored_dtype(i) == dtypes[i]);
  write_folder(*weights, imported.files(), {.folder = out, .max_file_bytes = 800}, cluster);
  CHECK(test::tensor_bytes(HubFolder(out)) == test::tensor_bytes(hub));
  CHECK(models::read_model_files(out) == source.files());
}

TEST_CASE("the tiny models of each family go through a checkpoint unchanged") {
  const std::optional<fs::path> shared = test::shared_folder();
  if (!shared) return;
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  for (const std::string name : {"qwen2_dense", "qwen3_dense", "qwen3_moe_a", "qwen3_moe_b"}) {
    CAPTURE(name);
    const fs::path in = *shared / "data/fixtures/tiny" / name, file = folder.path() / (name + ".h5");
    ModelSource source(in);
    const models::ParameterTable table =
        models::parameter_table(models::read_config(source.config(), source.config_name()));
    const HubFolder hub(in);
    const HubWeights weights(hub, table);
    CHECK(weights.warnings().empty());
    import_model(weights, source.files(), file, cluster);
    ModelSource imported(file);
    write_folder(*imported.weights(table), imported.files(), {.folder = folder.path() / name}, cluster);
    CHECK(test::tensor_bytes(HubFolder(folder.path() / name)) == test::tensor_bytes(hub));
    CHECK(models::read_model_files(folder.path() / name) == source.files());
  }
}

TEST_CASE("float16 and float64 survive the way through a checkpoint") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  for (const Dtype dtype : {Dtype::float16, Dtype::float64}) {
    const std::string name(name_of(dtype));
    const fs::path in = folder.path() / name, file = folder.path() / (name + ".h5");
    if (cluster.rank() == 0) write_source(in, std::vector<Dtype>(6, dtype));
    cluster.barrier("source");
    const HubFolder hub(in);
    import_model(HubWeights(hub, test::small_table()), models::read_model_files(in), file, cluster);
    ModelSource imported(file);
    write_folder(*imported.weights(test::small_table()), imported.files(),
                 {.folder = folder.path() / (name + ".out")}, cluster);
    CHECK(test::tensor_bytes(HubFolder(folder.path() / (name + ".out"))) == test::tensor_bytes(hub));
  }
}

TEST_CASE("shards from a checkpoint are those from the folder, on every mesh") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  const fs::path in = folder.path() / "in", file = folder.path() / "model.h5";
  if (cluster.rank() == 0) write_source(in, std::vector<Dtype>(6, Dtype::bfloat16));
  cluster.barrier("source");
  const models::ParameterTable table = test::small_table();
  const HubFolder hub(in);
  import_model(HubWeights(hub, table), models::read_model_files(in), file, cluster);
  ModelSource imported(file);
  const std::unique_ptr<WeightSource> weights = imported.weights(table);
  for (std::int64_t tensor = 1; tensor <= cluster.size(); tensor *= 2) {
    for (std::int64_t expert = 1; expert <= cluster.size(); expert *= 2) {
      const cluster::Mesh mesh(cluster.size(), cluster.rank(), {.tensor = tensor, .expert = expert});
      CAPTURE(mesh.text(), cluster.rank());
      const models::ShardLayout layout(table, mesh);
      Arena<Space::host> arena("weights");
      const models::Shards<float, Space::host> shards(layout, arena);
      load_weights(*weights, shards);
      for (std::size_t row = 0; row < table.size(); ++row) {
        const View<float, 1, Space::host> shard = shards[row];
        CHECK(std::vector<float>(shard.data, shard.data + shard.size()) ==
              test::small_shard(table, row, layout.row(row).slab));
      }
    }
  }
}

TEST_CASE("a path that is no model says what it should be") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  const std::string none = folder.path() / "none";
  CHECK_THROWS_WITH(ModelSource(none), none + ": no such Hugging Face folder or checkpoint");
  CHECK_THROWS_WITH(
      ModelSource(folder.path()),
      folder.path().string() + ": no config.json in this folder; a Hugging Face model folder has one");
  if (cluster.rank() == 0) test::write_bytes(folder.path() / "text.h5", "no HDF5");
  cluster.barrier("text");
  CHECK_THROWS_AS(ModelSource(folder.path() / "text.h5"), checkpoint::DamagedError);
}

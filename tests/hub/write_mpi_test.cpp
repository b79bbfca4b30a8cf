#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "hub/weights.h"
#include "hub/write.h"
#include "tests/hub/test_model.h"
#include "tests/support/catch.h"
#include "tests/support/shared_temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;
namespace fs = std::filesystem;

namespace {

const std::vector<Dtype> kMixed{Dtype::bfloat16, Dtype::float32,  Dtype::float16,
                                Dtype::float32,  Dtype::bfloat16, Dtype::bfloat16};
const models::ModelFiles kFiles{{"config.json", "{\"torch_dtype\": \"bfloat16\"}\n"},
                                {"chat_template.jinja", std::string("a\0b\r\n", 5)}};

void write_source(const fs::path& folder) {
  fs::create_directories(folder);
  test::write_bytes(folder / "model.safetensors",
                    test::safetensors_bytes(test::small_hub_tensors(test::small_table(), kMixed)));
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

std::map<std::string, std::string> expected_bytes(const std::vector<Dtype>& dtypes) {
  std::map<std::string, std::string> all;
  for (const test::RawTensor& tensor : test::small_hub_tensors(test::small_table(), dtypes)) {
    all[tensor.name] = tensor.dtype + tensor.bytes;
  }
  return all;
}

/// A source that fails on the last rank at its third parameter.
class FailingSource final : public WeightSource {
 public:
  FailingSource(const WeightSource& source, const cluster::Cluster& cluster)
      : source_(source), fails_(cluster.rank() == cluster.size() - 1) {}
  [[nodiscard]] const models::ParameterTable& table() const override { return source_.table(); }
  [[nodiscard]] Dtype stored_dtype(std::size_t i) const override { return source_.stored_dtype(i); }
  void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const override {
    source_.read(wanted, [&](std::size_t i, const models::Slab& slab, const checkpoint::Elements& elements) {
      if (fails_ && i >= 2) throw InputError("the disk burns");
      sink(i, slab, elements);
    });
  }

 private:
  const WeightSource& source_;
  bool fails_;
};

template <class Call>
std::string agreed_message(const Call& call) {
  try {
    call();
  } catch (const cluster::AgreedError& error) {
    return error.what();
  }
  return "no AgreedError";
}

}  // namespace

TEST_CASE("each rank of every mesh loads its own shards") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  if (cluster.rank() == 0) write_source(folder.path());
  cluster.barrier("source");
  const HubFolder hub(folder.path());
  const models::ParameterTable table = test::small_table();
  const HubWeights weights(hub, table);
  CHECK(weights.warnings().empty());
  for (std::int64_t tensor = 1; tensor <= cluster.size(); tensor *= 2) {
    for (std::int64_t expert = 1; expert <= cluster.size(); expert *= 2) {
      for (std::int64_t expert_tensor = 1; expert * expert_tensor <= cluster.size(); expert_tensor *= 2) {
        const cluster::Mesh mesh(cluster.size(), cluster.rank(),
                                 {.tensor = tensor, .expert = expert, .expert_tensor = expert_tensor});
        CAPTURE(mesh.text(), cluster.rank());
        const models::ShardLayout layout(table, mesh);
        Arena<Space::host> arena("weights");
        const models::Shards<float, Space::host> shards(layout, arena);
        load_weights(weights, shards);
        for (std::size_t row = 0; row < table.size(); ++row) {
          const View<float, 1, Space::host> shard = shards[row];
          const std::vector<float> loaded(shard.data, shard.data + shard.size());
          CHECK(loaded == test::small_shard(table, row, layout.row(row).slab));
        }
      }
    }
  }
}

TEST_CASE("a written folder holds the same tensors bit for bit and the files byte for byte") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  if (cluster.rank() == 0) write_source(folder.path() / "in");
  cluster.barrier("source");
  const HubFolder in(folder.path() / "in");
  const HubWeights weights(in, test::small_table());
  for (const std::int64_t max_file_bytes : {1 << 20, 900, 1}) {
    CAPTURE(max_file_bytes);
    const fs::path out = folder.path() / fmt::format("out/{}", max_file_bytes);
    write_folder(weights, kFiles, {.folder = out, .max_file_bytes = max_file_bytes}, cluster);
    const HubFolder written(out);
    CHECK(test::tensor_bytes(written) == expected_bytes(kMixed));
    for (const auto& [name, bytes] : kFiles) CHECK(read_file(out / name, 1000) == bytes);
    std::set<std::string> files;
    for (const auto& [name, place] : written.tensors()) files.insert(place.file->path().filename().string());
    for (const auto& [name, bytes] : kFiles) files.insert(name);
    if (max_file_bytes < 1000) files.insert("model.safetensors.index.json");
    CHECK(names_in(out) == files);
  }
  CHECK(names_in(folder.path() / "out") == std::set<std::string>{"1048576", "900", "1"});
}

TEST_CASE("another type rounds each value once") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  if (cluster.rank() == 0) write_source(folder.path() / "in");
  cluster.barrier("source");
  const HubFolder in(folder.path() / "in");
  const HubWeights weights(in, test::small_table());
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16}) {
    const fs::path out = folder.path() / std::string(name_of(dtype));
    write_folder(weights, kFiles, {.folder = out, .dtype = dtype}, cluster);
    CHECK(test::tensor_bytes(HubFolder(out)) == expected_bytes(std::vector<Dtype>(6, dtype)));
  }
}

TEST_CASE("a folder that holds something is refused on all ranks, an empty one is filled") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  const fs::path out = folder.path() / "out";
  if (cluster.rank() == 0) {
    write_source(folder.path() / "in");
    write_source(out);
    fs::create_directories(folder.path() / "empty");
  }
  cluster.barrier("source");
  const HubFolder in(folder.path() / "in");
  const HubWeights weights(in, test::small_table());
  const auto write_to = [&](const fs::path& path) {
    return agreed_message([&] { write_folder(weights, kFiles, {.folder = path}, cluster); });
  };
  CHECK(write_to(out) == out.string() +
                             ": is not empty (it holds 'model.safetensors'); name a new folder or remove "
                             "this one");
  CHECK(write_to(out / "model.safetensors") ==
        (out / "model.safetensors").string() + ": is a file; export writes a folder");
  CHECK(write_to(folder.path() / "empty/") == "no AgreedError");
  CHECK(test::tensor_bytes(HubFolder(folder.path() / "empty")) == expected_bytes(kMixed));
}

TEST_CASE("an export that fails on one rank fails on all and leaves nothing") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  if (cluster.rank() == 0) write_source(folder.path() / "in");
  cluster.barrier("source");
  const HubFolder in(folder.path() / "in");
  const HubWeights weights(in, test::small_table());
  const FailingSource failing(weights, cluster);
  const std::string message = agreed_message([&] {
    write_folder(failing, kFiles, {.folder = folder.path() / "out", .max_file_bytes = 700}, cluster);
  });
  CHECK(message ==
        (cluster.size() == 1 ? "" : fmt::format("rank {}: ", cluster.size() - 1)) + "the disk burns");
  CHECK(names_in(folder.path()) == std::set<std::string>{"in"});
}

TEST_CASE("what a killed export left is cleared away, what is not an export's is refused") {
  cluster::Cluster cluster{cluster::Environment()};
  const test::SharedTemporaryFolder folder(cluster);
  const fs::path out = folder.path() / "out", partial = folder.path() / "out.partial";
  if (cluster.rank() == 0) {
    write_source(folder.path() / "in");
    fs::create_directories(partial);
    for (const char* name : {"model-00003-of-00009.safetensors", "config.json", "notes.txt"}) {
      test::write_bytes(partial / name, "left behind");
    }
  }
  cluster.barrier("source");
  const HubFolder in(folder.path() / "in");
  const HubWeights weights(in, test::small_table());
  const auto write = [&] { write_folder(weights, kFiles, {.folder = out}, cluster); };
  CHECK(agreed_message(write) == partial.string() +
                                     ": is needed for this export, but holds 'notes.txt', which none "
                                     "wrote; move it away");
  CHECK(fs::exists(partial / "notes.txt"));
  cluster.barrier("refused");
  if (cluster.rank() == 0) fs::remove(partial / "notes.txt");
  cluster.barrier("removed");
  write();
  CHECK(test::tensor_bytes(HubFolder(out)) == expected_bytes(kMixed));
  CHECK(names_in(out) == std::set<std::string>{"model.safetensors", "config.json", "chat_template.jinja"});
  CHECK(names_in(folder.path()) == std::set<std::string>{"in", "out"});
}

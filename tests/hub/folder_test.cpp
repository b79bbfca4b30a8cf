#include "hub/folder.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include "base/error.h"
#include "tests/hub/test_model.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;

namespace {

const std::vector<Dtype> kFloat32(6, Dtype::float32);

/// Two files and an index, as Hugging Face writes them; `change` may spoil the index's text.
void write_sharded(const test::TemporaryFolder& folder, const std::function<void(std::string&)>& change) {
  const std::vector<test::RawTensor> tensors = test::small_hub_tensors(test::small_table(), kFloat32);
  const auto middle = tensors.begin() + 4;
  test::write_bytes(folder / "model-00001-of-00002.safetensors",
                    test::safetensors_bytes({tensors.begin(), middle}));
  test::write_bytes(folder / "model-00002-of-00002.safetensors",
                    test::safetensors_bytes({middle, tensors.end()}));
  std::string index = R"({"metadata":{"total_size":1},"weight_map":{)";
  for (auto tensor = tensors.begin(); tensor != tensors.end(); ++tensor) {
    index += fmt::format(R"({}"{}":"model-0000{}-of-00002.safetensors")",
                         tensor == tensors.begin() ? "" : ",", tensor->name, tensor < middle ? 1 : 2);
  }
  index += "}}";
  change(index);
  test::write_bytes(folder / "model.safetensors.index.json", index);
}

std::function<void(std::string&)> replacing(const std::string& old_text, const std::string& new_text) {
  return [=](std::string& text) {
    const std::size_t place = text.find(old_text);
    REQUIRE(place != std::string::npos);
    text.replace(place, old_text.size(), new_text);
  };
}

std::string name_of_folder(const test::TemporaryFolder& folder) {
  return folder.path().string();
}

}  // namespace

TEST_CASE("a sharded folder gives each tensor its file", "[folder]") {
  const test::TemporaryFolder folder;
  write_sharded(folder, [](std::string&) {});
  const HubFolder hub(folder.path());
  CHECK(hub.tensors().size() == 28);
  const HubFolder::Place* place = hub.find("model.layers.0.mlp.experts.7.up_proj.weight");
  REQUIRE(place != nullptr);
  CHECK(place->file->path().filename() == "model-00002-of-00002.safetensors");
  CHECK(place->tensor->shape == std::vector<std::int64_t>{6, 8});
  CHECK(hub.find("model.layers.1.mlp.gate.weight") == nullptr);
  CHECK(check_fit(hub, test::small_table()).empty());
}

TEST_CASE("an index that does not fit its files is refused", "[folder]") {
  struct Case {
    std::string old_text, new_text, message;
  };
  const std::string norm = "\"model.layers.0.input_layernorm.weight\":\"model-00001-of-00002.safetensors\"";
  const std::string key = norm.substr(0, norm.find(':') + 1);
  const std::vector<Case> cases{
      {norm, key + "\"../model.safetensors\"",
       "weight_map says '../model.safetensors' for 'model.layers.0.input_layernorm.weight': not the name of "
       "a "
       ".safetensors file in this folder"},
      {norm, key + "\"/etc/passwd\"",
       "weight_map says '/etc/passwd' for 'model.layers.0.input_layernorm.weight': not the name of a "
       ".safetensors "
       "file in this folder"},
      {norm, key + "\"config.json\"",
       "weight_map says 'config.json' for 'model.layers.0.input_layernorm.weight': not the name of a "
       ".safetensors "
       "file in this folder"},
      {norm, key + "7", "weight_map gives 'model.layers.0.input_layernorm.weight' 7, not a file name"},
      {norm, key + "\"model-00003-of-00003.safetensors\"",
       "1 of the 3 files of weight_map are not there: 'model-00003-of-00003.safetensors'"},
      {norm, key + "\"model-00002-of-00002.safetensors\"",
       "weight_map puts tensor 'model.layers.0.input_layernorm.weight' in model-00002-of-00002.safetensors, "
       "but it is "
       "in model-00001-of-00002.safetensors"},
      {"input_layernorm", "input_layernorn",
       "weight_map puts tensor 'model.layers.0.input_layernorn.weight' in model-00001-of-00002.safetensors, "
       "but it is "
       "in no file"},
      {norm, norm + "," + norm,
       "the key \"model.layers.0.input_layernorm.weight\" stands twice in one object"},
      {"weight_map", "weights", "\"weight_map\" is not an object that gives each tensor a file"},
  };
  for (const Case& wrong : cases) {
    const test::TemporaryFolder folder;
    write_sharded(folder, replacing(wrong.old_text, wrong.new_text));
    CAPTURE(wrong.message);
    CHECK_THROWS_WITH(HubFolder(folder.path()),
                      name_of_folder(folder) + "/model.safetensors.index.json: " + wrong.message);
    CHECK_THROWS_AS(HubFolder(folder.path()), InputError);
  }
}

TEST_CASE("a tensor in two files is refused", "[folder]") {
  const test::TemporaryFolder folder;
  write_sharded(folder, [](std::string&) {});
  const std::vector<test::RawTensor> tensors = test::small_hub_tensors(test::small_table(), kFloat32);
  test::write_bytes(folder / "model-00002-of-00002.safetensors",
                    test::safetensors_bytes({tensors.begin() + 3, tensors.end()}));
  CHECK_THROWS_WITH(HubFolder(folder.path()),
                    name_of_folder(folder) +
                        ": tensor 'model.layers.0.mlp.gate.weight' stands in "
                        "model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors");
}

TEST_CASE("a folder without safetensors says what to do", "[folder]") {
  const test::TemporaryFolder folder;
  const std::string name = name_of_folder(folder);
  CHECK_THROWS_WITH(HubFolder(folder.path()),
                    name + ": neither model.safetensors nor model.safetensors.index.json in this folder");
  CHECK_THROWS_WITH(HubFolder(folder / "none"), name + "/none: no such folder");
  test::write_bytes(folder / "pytorch_model-00001-of-00002.bin", "x");
  CHECK_THROWS_WITH(
      HubFolder(folder.path()),
      name +
          ": the weights are PyTorch pickles (pytorch_model-00001-of-00002.bin), which can run code "
          "and are not read; write safetensors first: python -c 'import transformers as t; "
          "t.AutoModelForCausalLM.from_pretrained(\"" +
          name + "\", torch_dtype=\"auto\").save_pretrained(\"" + name + "-safetensors\")'");
}

TEST_CASE("missing, misshapen and unreadable tensors are named", "[folder]") {
  const test::TemporaryFolder folder;
  const std::string name = name_of_folder(folder), file = folder / "model.safetensors";
  std::vector<test::RawTensor> tensors = test::small_hub_tensors(test::small_table(), kFloat32);
  const auto fit = [&](const std::vector<test::RawTensor>& changed) {
    test::write_bytes(file, test::safetensors_bytes(changed));
    return check_fit(HubFolder(folder.path()), test::small_table());
  };
  CHECK_THROWS_WITH(
      fit({tensors.begin(), tensors.end() - 5}),
      name +
          ": 5 of the model's 28 tensors are missing: 'model.layers.0.mlp.experts.3.down_proj.weight', "
          "'model.layers.0.mlp.experts.4.down_proj.weight', "
          "'model.layers.0.mlp.experts.5.down_proj.weight' and 2 more");
  std::vector<test::RawTensor> misshapen = tensors;
  misshapen[2].shape = {12, 8};
  CHECK_THROWS_WITH(fit(misshapen), name +
                                        ": tensor 'model.layers.0.self_attn.o_proj.weight' is [12, 8] in "
                                        "model.safetensors, but config.json makes it [8, 12]");
  misshapen[1].shape = {2, 4};
  CHECK_THROWS_WITH(fit(misshapen),
                    name +
                        ": 2 tensors do not fit the model; the first: "
                        "'model.layers.0.input_layernorm.weight' is [2, 4] in model.safetensors, "
                        "but config.json makes it [8]");
  std::vector<test::RawTensor> integers = tensors;
  integers[1].dtype = "I32";
  CHECK_THROWS_WITH(fit(integers), name +
                                       ": tensor 'model.layers.0.input_layernorm.weight' is I32 in "
                                       "model.safetensors; weights must be F32, BF16, F16 or F64");
}

TEST_CASE("tensors that nothing uses are told, but not those that every reader leaves out", "[folder]") {
  const test::TemporaryFolder folder;
  std::vector<test::RawTensor> tensors = test::small_hub_tensors(test::small_table(), kFloat32);
  for (const char* name :
       {"lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.mtp.weight"}) {
    tensors.push_back({name, "F32", {1}, "1234"});
  }
  test::write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
  CHECK(check_fit(HubFolder(folder.path()), test::small_table()) ==
        std::vector<std::string>{"model.mtp.weight"});
}

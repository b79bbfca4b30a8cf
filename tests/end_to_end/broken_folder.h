#pragma once
#include <cstring>
#include <functional>

#include "tests/end_to_end/refusal.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/safetensors.h"

/// A folder with all that a run needs, and ways to break one file of it.
namespace moebius::test {

namespace fs = std::filesystem;

using Spoil = std::function<void(const fs::path& folder)>;

inline constexpr std::string_view kFolder = "{folder}";  // stands for its absolute path in front of a message
inline constexpr int kAll = -1;                          // as a witness

/// One thing that is broken, and what must be said about it.
struct BadFile {
  const char* broken;  // what
  Spoil spoil;
  std::vector<std::string> command;
  std::string message;
  int exit_code = 3;
  int witness = kAll;  // of two ranks; where not all see it, the message begins with the rank that did
};

/// A folder with all that a run needs, made by the program: a job of 4 iterations that starts from `model`, a
/// Hugging Face folder with tokenizer; `rows.jsonl`; and `out`, where that job has made 2 of its iterations.
class GoodFolder {
 public:
  GoodFolder() {
    const TinyJob rows_and_config(folder_);
    Json config = Json::parse(slurp(folder_ / "config.json"));
    config["vocab_size"] = 1024;
    spill(folder_ / "config.json", config.dump());
    spill(folder_ / "job.toml", kJob);
    fs::copy(repository() / "jobs/quickstart", folder_ / "tokenizer");
    run({"train", "job.toml", "--set", "model.path=", "--set", "model.config=config.json", "--set",
         "model.tokenizer=tokenizer", "--set", "model.init=random", "--set", "train.iterations=2"});
    run({"export", "out/checkpoints/step_00000002.h5", "-o", "model"});
    fs::remove_all(folder_ / "out/cache");
  }
  [[nodiscard]] const fs::path& path() const { return folder_.path(); }

 private:
  void run(const std::vector<std::string>& command) const {
    const Outcome outcome = Program(folder_).run(1, command);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
  }

  static constexpr const char* kJob = R"([job]
output = "out"
[model]
path = "model"
[data]
train = ["rows.jsonl"]
max_length = 64
[train]
global_batch_size = 4
iterations = 4
[checkpoint]
interval = 1
keep = 3
[log]
tensorboard = false
)";
  TemporaryFolder folder_;
};

inline const fs::path& good_folder() {
  static const GoodFolder folder;
  return folder.path();
}

/// Each on 1 and 2 ranks.
inline void check_refused(const std::vector<BadFile>& cases) {
  for (const BadFile& bad : cases) {
    INFO(bad.broken);
    const TemporaryFolder folder;
    fs::copy(good_folder(), folder.path(), fs::copy_options::recursive);
    bad.spoil(folder.path());
    std::string message = bad.message;
    if (message.starts_with(kFolder))
      message.replace(0, kFolder.size(), fs::canonical(folder.path()).string());
    for (const int ranks : {1, 2}) {
      const bool is_named = ranks > 1 && bad.witness != kAll;
      check_refused(
          folder, ranks,
          {bad.command, bad.exit_code, (is_named ? fmt::format("rank {}: ", bad.witness) : "") + message});
    }
  }
}

// Ways to break a file.

inline Spoil nothing() {
  return [](const fs::path&) {};
}

inline Spoil written(const std::string& name, const std::string& bytes) {
  return [=](const fs::path& folder) { spill(folder / name, bytes); };
}

inline Spoil removed(const std::string& name) {
  return [=](const fs::path& folder) { fs::remove(folder / name); };
}

inline Spoil cut(const std::string& name, std::uintmax_t bytes) {
  return [=](const fs::path& folder) { fs::resize_file(folder / name, bytes); };
}

/// JSON that is right but for what `edit` does to it.
inline Spoil edited(const std::string& name, const std::function<void(Json&)>& edit) {
  return [=](const fs::path& folder) {
    Json json = Json::parse(slurp(folder / name));
    edit(json);
    spill(folder / name, json.dump());
  };
}
inline Spoil config(const std::function<void(Json&)>& edit) {
  return edited("model/config.json", edit);
}
inline Spoil tokenizer(const std::function<void(Json&)>& edit) {
  return edited("model/tokenizer.json", edit);
}

inline std::uint64_t header_length(const std::string& bytes) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return length;
}

inline Json tensors_of(const std::string& bytes) {
  return Json::parse(bytes.substr(8, header_length(bytes)));
}

/// The tensors' descriptions in model.safetensors, by name.
inline Spoil header(const std::function<void(Json&)>& edit) {
  return [=](const fs::path& folder) {
    const std::string bytes = slurp(folder / "model/model.safetensors");
    Json entries = tensors_of(bytes);
    edit(entries);
    spill(folder / "model/model.safetensors",
          safetensors_bytes(entries.dump(), bytes.substr(8 + header_length(bytes))));
  };
}

/// The weights in one file that an index names; `edit` changes what the index says.
inline Spoil indexed(const std::function<void(Json&)>& edit) {
  return [=](const fs::path& folder) {
    const std::string shard = "model-00001-of-00001.safetensors";
    const Json entries = tensors_of(slurp(folder / "model/model.safetensors"));
    Json index;
    for (const auto& [name, entry] : entries.items()) {
      if (name != "__metadata__") index["weight_map"][name] = shard;
    }
    edit(index);
    spill(folder / "model/model.safetensors.index.json", index.dump());
    fs::rename(folder / "model/model.safetensors", folder / "model" / shard);
  };
}

inline constexpr const char* kNorm = "model.norm.weight";
inline constexpr const char* kLastInFile = "lm_head.weight";

/// One bit of a parameter in a checkpoint of the weights in `model`.
inline Spoil bit_flipped(const std::string& name) {
  return [=](const fs::path& folder) {
    const std::string model = slurp(folder / "model/model.safetensors");
    const auto offsets = tensors_of(model)[kNorm]["data_offsets"].get<std::vector<std::size_t>>();
    const std::string elements = model.substr(8 + header_length(model) + offsets[0], offsets[1] - offsets[0]);
    std::string bytes = slurp(folder / name);
    const std::size_t begin = bytes.find(elements);
    REQUIRE(begin != std::string::npos);
    bytes[begin + 5] = char(bytes[begin + 5] ^ 4);
    spill(folder / name, bytes);
  };
}

}  // namespace moebius::test

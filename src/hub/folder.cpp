#include "hub/folder.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <utility>

#include "base/error.h"
#include "hub/json_text.h"
#include "tensor/convert.h"

namespace moebius::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::size_t kShownNames = 3;  // of a long list, in a message
constexpr std::int64_t kMaxIndexBytes = 100'000'000;

/// Why there are no weights in the folder, and what to do.
[[noreturn]] void refuse_without_weights(const fs::path& folder) {
  const std::string name = folder.string();
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) throw InputError(name + ": no such folder");
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() != ".bin" || !file.starts_with("pytorch_model")) continue;
    throw InputError(
        fmt::format("{}: the weights are PyTorch pickles ({}), which can run code and are not read; write "
                    "safetensors first: python "
                    "-c 'import transformers as t; t.AutoModelForCausalLM.from_pretrained(\"{}\", "
                    "torch_dtype=\"auto\").save_pretrained(\"{}-safetensors\")'",
                    name, file, name, name));
  }
  throw InputError(fmt::format("{}: neither {} nor {} in this folder", name, kSingleFile, kIndexFile));
}

/// A name in an index must be that of a file right here: no path, so that no other file is opened.
void check_file_name(const std::string& index, const std::string& tensor, const std::string& file) {
  const bool is_plain = file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (is_plain && file.ends_with(".safetensors")) return;
  throw InputError(
      fmt::format("{}: weight_map says '{}' for '{}': not the name of a .safetensors file in this folder",
                  index, file, tensor));
}

}  // namespace

HubFolder::HubFolder(fs::path folder) : path_(std::move(folder)) {
  if (fs::exists(path_ / kSingleFile)) {
    open_file(kSingleFile);
  } else if (fs::exists(path_ / kIndexFile)) {
    open_indexed_files(path_ / kIndexFile);
  } else {
    refuse_without_weights(path_);
  }
}

HubFolder::HubFolder(fs::path folder, const std::string& file) : path_(std::move(folder)) {
  if (!fs::is_directory(path_)) throw InputError(path_.string() + ": no such folder");
  if (!fs::exists(path_ / file))
    throw InputError(fmt::format("{}: no {} in this folder", path_.string(), file));
  open_file(file);
}

const HubFolder::Place* HubFolder::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void HubFolder::open_file(const std::string& name) {
  files_.push_back(std::make_unique<SafetensorsFile>(path_ / name));
  const SafetensorsFile& file = *files_.back();
  for (const TensorInfo& tensor : file.tensors()) {
    const auto [there, is_new] = tensors_.emplace(tensor.name, Place{&file, &tensor});
    if (!is_new) {
      throw InputError(fmt::format("{}: tensor '{}' stands in {} and in {}", path_.string(), tensor.name,
                                   there->second.file->path().filename().string(), name));
    }
  }
}

void HubFolder::open_indexed_files(const fs::path& index) {
  const std::string index_name = index.string();
  const nlohmann::json content = parse_json_object(read_file(index, kMaxIndexBytes), index_name);
  const auto weight_map = content.find("weight_map");
  if (weight_map == content.end() || !weight_map->is_object() || weight_map->empty()) {
    throw InputError(index_name + ": \"weight_map\" is not an object that gives each tensor a file");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string()) {
      throw InputError(
          fmt::format("{}: weight_map gives '{}' {}, not a file name", index_name, tensor, file.dump()));
    }
    check_file_name(index_name, tensor, file.get_ref<const std::string&>());
    names.insert(file.get<std::string>());
  }
  std::vector<std::string> absent;
  for (const std::string& name : names) {
    if (!fs::exists(path_ / name)) absent.push_back(name);
  }
  if (!absent.empty()) {
    throw InputError(fmt::format("{}: {} of the {} files of weight_map are not there: {}", index_name,
                                 absent.size(), names.size(), some_of(absent)));
  }
  for (const std::string& name : names) open_file(name);
  for (const auto& [tensor, file] : weight_map->items()) {
    const Place* place = find(tensor);
    if (place != nullptr && place->file->path().filename() == file.get<std::string>()) continue;
    throw InputError(fmt::format(
        "{}: weight_map puts tensor '{}' in {}, but it is {}", index_name, tensor, file.get<std::string>(),
        place == nullptr ? "in no file" : "in " + place->file->path().filename().string()));
  }
}

std::vector<std::string> check_fit(const HubFolder& folder, const models::ParameterTable& table) {
  std::set<std::string> used;
  std::vector<std::string> missing, wrong;
  for (const models::Parameter& parameter : table) {
    for (const models::HubTensor& wanted : models::hub_tensors(parameter)) {
      used.insert(wanted.name);
      const HubFolder::Place* place = folder.find(wanted.name);
      if (place == nullptr) {
        missing.push_back(wanted.name);
        continue;
      }
      const TensorInfo& tensor = *place->tensor;
      if (tensor.shape != wanted.shape) {
        wrong.push_back(fmt::format("'{}' is {} in {}, but config.json makes it {}", wanted.name,
                                    tensor.shape, place->file->path().filename().string(), wanted.shape));
      } else if (!tensor.dtype || !is_floating(*tensor.dtype)) {
        wrong.push_back(fmt::format("'{}' is {} in {}; weights must be F32, BF16, F16 or F64", wanted.name,
                                    tensor.dtype_word, place->file->path().filename().string()));
      }
    }
  }
  const std::string where = folder.path().string();
  if (!missing.empty()) {
    throw InputError(fmt::format("{}: {} of the model's {} tensors are missing: {}", where, missing.size(),
                                 used.size(), some_of(missing)));
  }
  if (!wrong.empty()) {
    throw InputError(wrong.size() == 1 ? fmt::format("{}: tensor {}", where, wrong.front())
                                       : fmt::format("{}: {} tensors do not fit the model; the first: {}",
                                                     where, wrong.size(), wrong.front()));
  }
  std::vector<std::string> unused;
  for (const auto& [name, place] : folder.tensors()) {
    const bool left_out_by_all = name == "lm_head.weight" || name.ends_with("rotary_emb.inv_freq");
    if (!left_out_by_all && !used.contains(name)) unused.push_back(name);
  }
  return unused;
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    text += fmt::format("{}'{}'", i == 0 ? "" : ", ", names[i]);
  }
  if (names.size() > kShownNames) text += fmt::format(" and {} more", names.size() - kShownNames);
  return text;
}

}  // namespace moebius::hub

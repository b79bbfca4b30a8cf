#include "hub/write.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/file_plan.h"
#include "hub/json_text.h"

namespace moebius::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;
constexpr const char* kIndexName = "model.safetensors.index.json";

/// The folder under its own name, without a slash at the end and through no link, so that a rename hits it.
fs::path target_of(const fs::path& folder) {
  if (fs::exists(folder)) return fs::canonical(folder);
  const fs::path absolute = fs::absolute(folder).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

fs::path partial_of(const fs::path& target) {
  return target.string() + ".partial";
}

bool is_ours(const std::string& name, const models::ModelFiles& files) {
  return name.starts_with("model-") || name == "model.safetensors" || name == kIndexName ||
         files.contains(name);
}

/// Removes what an interrupted export left, file by file; refuses anything that an export does not write.
void clear_partial(const fs::path& partial, const models::ModelFiles& files) {
  for (const auto& entry : fs::directory_iterator(partial)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !is_ours(name, files)) {
      throw ClusterError(
          fmt::format("{}: is needed for this export, but holds '{}', which none wrote; move it away",
                      partial.string(), name));
    }
    fs::remove(entry.path());
  }
}

void check_file_names(const models::ModelFiles& files) {
  for (const auto& [name, bytes] : files) {
    const bool is_plain = !name.empty() &&
                          name.find_first_of(std::string_view("/\0", 2)) == std::string::npos &&
                          name != "." && name != "..";
    if (!is_plain) throw InputError(fmt::format("the model's file '{}' has no plain name", name));
  }
}

/// What rank 0 does before the others write: room, an empty folder, files of full length with their headers.
void prepare(const fs::path& target, const FilePlan& plan, const models::ModelFiles& files) {
  check_file_names(files);
  if (fs::exists(target) && !fs::is_directory(target)) {
    throw ClusterError(target.string() + ": is a file; export writes a folder");
  }
  if (fs::exists(target) && !fs::is_empty(target)) {
    throw ClusterError(fmt::format("{}: is not empty (it holds '{}'); name a new folder or remove this one",
                                   target.string(),
                                   fs::directory_iterator(target)->path().filename().string()));
  }
  const fs::path partial = partial_of(target);
  fs::create_directories(partial);
  clear_partial(partial, files);
  const auto available = std::int64_t(fs::space(partial).available);
  if (available < plan.tensor_bytes) {
    throw ClusterError(fmt::format("{}: {} are needed and {} are free", target.parent_path().string(),
                                   bytes_text(plan.tensor_bytes), bytes_text(available)));
  }
  for (const FilePlan::File& planned : plan.files) {
    File file(partial / planned.name, File::Mode::create);
    file.resize(planned.size);
    file.write_at(0, std::as_bytes(std::span(planned.header)));
    file.sync();
  }
}

/// This rank's chunks, from the source into the files.
void write_chunks(const WeightSource& source, const FilePlan& plan, const fs::path& partial,
                  const std::vector<Chunk>& chunks) {
  std::map<std::size_t, File> open;  // at most a rank's share of the files
  std::vector<std::byte> buffer;
  for (const Chunk& chunk : chunks) {
    const FilePlan::Tensor& tensor = plan.tensors[chunk.tensor];
    models::Slab slab;
    for (const std::int64_t index : tensor.hub.index) slab.ranges.push_back({index, index + 1});
    slab.ranges.push_back(chunk.rows);
    for (std::size_t dim = 1; dim < tensor.hub.shape.size(); ++dim)
      slab.ranges.push_back({0, tensor.hub.shape[dim]});
    buffer.resize(std::size_t(chunk.bytes));
    source.read(tensor.parameter, slab, tensor.dtype, buffer.data());

    const auto [place, is_new] =
        open.try_emplace(tensor.file, partial / plan.files[tensor.file].name, File::Mode::write_existing);
    const std::int64_t row_bytes = chunk.bytes / chunk.rows.size();
    place->second.write_at(tensor.offset + chunk.rows.begin * row_bytes, buffer);
  }
  for (auto& [index, file] : open) file.sync();
}

/// What rank 0 does when all tensors are written: the small files, a look at the whole, and the folder's
/// name.
void publish(const fs::path& target, const FilePlan& plan, const models::ModelFiles& files,
             const models::ParameterTable& table) {
  const fs::path partial = partial_of(target);
  if (const std::string index = index_text(plan); !index.empty()) write_file(partial / kIndexName, index);
  for (const auto& [name, bytes] : files) write_file(partial / name, bytes);
  if (!check_fit(HubFolder(partial), table).empty()) {
    throw ClusterError(partial.string() + ": something else writes into this folder");
  }
  sync_folder(partial);
  fs::rename(partial, target);
  sync_folder(target.parent_path());
}

/// File system calls of the standard library, with their errors as ours.
template <class Work>
void on_rank_0(cluster::Cluster& cluster, std::string_view name, const Work& work) {
  cluster.together(name, [&] {
    if (cluster.rank() != 0) return;
    try {
      work();
    } catch (const fs::filesystem_error& error) {
      throw ClusterError(fmt::format("{}: {}", error.path1().string(), error.code().message()));
    }
  });
}

/// The type of most bytes, where config.json, which is copied as it is, names another; else empty.
std::string other_dtype_than_config(const FilePlan& plan, const models::ModelFiles& files) {
  const auto config = files.find("config.json");
  if (config == files.end()) return {};
  const nlohmann::json content = parse_json_object(config->second, "config.json");
  std::map<Dtype, std::int64_t> bytes;
  for (const FilePlan::File& file : plan.files) {
    for (const TensorInfo& tensor : file.tensors) bytes[*tensor.dtype] += tensor.bytes.size();
  }
  const auto largest = std::max_element(bytes.begin(), bytes.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto said = content.find(key);
    if (said == content.end() || !said->is_string()) continue;
    if (*said == std::string(name_of(largest->first))) return {};
    return fmt::format("the tensors are {}; config.json, copied as it is, says {} = {}",
                       name_of(largest->first), key, said->dump());
  }
  return {};
}

}  // namespace

void write_folder(const WeightSource& source, const models::ModelFiles& files, const WriteSettings& settings,
                  cluster::Cluster& cluster) {
  const Log log(int(cluster.rank()));
  const auto start = std::chrono::steady_clock::now();
  std::vector<Dtype> dtypes;
  for (std::size_t i = 0; i < source.table().size(); ++i) {
    dtypes.push_back(settings.dtype.value_or(source.stored_dtype(i)));
  }
  const FilePlan plan = plan_files(source.table(), dtypes, settings.max_file_bytes);
  const fs::path target = target_of(settings.folder);

  on_rank_0(cluster, "export: prepare the folder", [&] { prepare(target, plan, files); });
  cluster.together("export: write the tensors", [&] {
    write_chunks(source, plan, partial_of(target),
                 chunks_of_rank(plan, kChunkBytes, cluster.size(), cluster.rank()));
  });
  on_rank_0(cluster, "export: publish the folder", [&] { publish(target, plan, files, source.table()); });

  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log.info("{}: {} tensors in {} files, {}, written in {}", target.string(), plan.tensors.size(),
           plan.files.size(), bytes_text(plan.tensor_bytes), seconds_text(seconds.count()));
  const std::string note = other_dtype_than_config(plan, files);
  if (!note.empty()) log.info("{}: {}", target.string(), note);
}

}  // namespace moebius::hub

#include "hub/write.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/stopwatch.h"
#include "base/text.h"
#include "checkpoint/slabs.h"
#include "hub/file_plan.h"
#include "hub/json_text.h"
#include "tensor/convert.h"

namespace moebius::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlockBytes = std::int64_t{256} << 20;
constexpr const char* kIndexName = "model.safetensors.index.json";

/// The folder under its own name, without a slash at the end and through no link, so that a rename hits it.
fs::path target_of(const fs::path& folder) {
  std::error_code unknown;  // what cannot be looked at fails with its reason when it is made
  if (fs::path real = fs::canonical(folder, unknown); !unknown) return real;
  const fs::path absolute = fs::absolute(folder, unknown).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

fs::path partial_of(const fs::path& target) {
  return target.string() + ".partial";
}

/// Any stem's: what an export of another kind left there goes as well.
bool is_ours(const std::string& name, const models::ModelFiles& files) {
  const bool is_shard =
      (name.starts_with("model") || name.starts_with("adapter_model")) && name.ends_with(".safetensors");
  return is_shard || name == kIndexName || files.contains(name);
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

/// Puts a block of consecutive elements of one parameter together from its parts, in the type of the file,
/// and then writes it to its places.
class BlockWriter {
 public:
  BlockWriter(const models::ParameterTable& table, const FilePlan& plan, fs::path folder)
      : table_(table), plan_(plan), folder_(std::move(folder)) {}

  void begin(std::size_t parameter, const models::Slab& block) {
    parameter_ = parameter;
    block_ = block;
    bytes_.resize(std::size_t(block.size() * item()));
  }
  void take(const models::Slab& part, const checkpoint::Elements& elements) {
    for (const models::Run& run : checkpoint::runs_inside(block_, part)) {
      convert(elements.dtype, elements.bytes.data() + run.local * size_of(elements.dtype),
              plan_.dtypes[parameter_], bytes_.data() + run.whole * item(), run.count);
    }
  }
  void write() {
    const std::int64_t first = models::runs_of(table_[parameter_], block_).front().whole;
    for (const FileSpan& span :
         spans_of(plan_, table_[parameter_], parameter_, {first, first + block_.size()})) {
      const auto [place, is_new] =
          files_.try_emplace(span.file, folder_ / plan_.files[span.file].name, File::Mode::write_existing);
      place->second.write_at(span.offset,
                             std::span(bytes_).subspan(std::size_t((span.elements.begin - first) * item()),
                                                       std::size_t(span.elements.size() * item())));
    }
  }
  void sync() {
    for (auto& [index, file] : files_) file.sync();
  }

 private:
  [[nodiscard]] std::int64_t item() const { return size_of(plan_.dtypes[parameter_]); }

  const models::ParameterTable& table_;
  const FilePlan& plan_;
  fs::path folder_;
  std::map<std::size_t, File> files_;
  std::size_t parameter_ = 0;
  models::Slab block_;
  std::vector<std::byte> bytes_;
};

/// This rank's blocks of every parameter: round k takes the k-th block of each, so one reading of the source
/// serves many parameters.
std::vector<std::vector<models::Slab>> rounds_of_blocks(const models::ParameterTable& table,
                                                        const FilePlan& plan,
                                                        const cluster::Cluster& cluster) {
  std::vector<models::Slab> nothing;
  for (const models::Parameter& parameter : table)
    nothing.push_back({std::vector<Range>(parameter.shape.size())});
  const std::vector<models::Slab> shares = checkpoint::even_slabs(table, cluster.size(), cluster.rank());
  std::vector<std::vector<models::Slab>> rounds;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::vector<models::Slab> blocks =
        checkpoint::pieces_of(shares[i], kBlockBytes / size_of(plan.dtypes[i]));
    if (rounds.size() < blocks.size()) rounds.resize(blocks.size(), nothing);
    for (std::size_t round = 0; round < blocks.size(); ++round) rounds[round][i] = blocks[round];
  }
  return rounds;
}

void write_tensors(const WeightSource& source, const FilePlan& plan, const fs::path& folder,
                   const cluster::Cluster& cluster) {
  BlockWriter writer(source.table(), plan, folder);
  for (const std::vector<models::Slab>& wanted : rounds_of_blocks(source.table(), plan, cluster)) {
    std::optional<std::size_t> current;
    source.read(wanted, [&](std::size_t i, const models::Slab& part, const checkpoint::Elements& elements) {
      if (current != i) {
        if (current) writer.write();
        writer.begin(i, wanted[i]);
        current = i;
      }
      writer.take(part, elements);
    });
    if (current) writer.write();
  }
  writer.sync();
}

/// What rank 0 does when all tensors are written: the small files, a look at the whole, and the folder's
/// name.
void publish(const fs::path& target, const FilePlan& plan, const models::ModelFiles& files,
             const models::ParameterTable& table) {
  const fs::path partial = partial_of(target);
  if (const std::string index = index_text(plan); !index.empty()) write_file(partial / kIndexName, index);
  for (const auto& [name, bytes] : files) write_file(partial / name, bytes);
  const bool is_model = plan.files.size() > 1 || plan.files.front().name == "model.safetensors";
  const HubFolder written = is_model ? HubFolder(partial) : HubFolder(partial, plan.files.front().name);
  if (!check_fit(written, table).empty()) {
    throw ClusterError(partial.string() + ": something else writes into this folder");
  }
  sync_folder(partial);
  fs::rename(partial, target);
  sync_folder(target.parent_path());
}

/// Runs `work` on rank 0; what the file system says there is the output's fault.
template <class Work>
void on_rank_0(cluster::Cluster& cluster, std::string_view name, const Work& work) {
  cluster.on_first_rank(name, [&] {
    try {
      work();
    } catch (const fs::filesystem_error& error) {
      throw ClusterError(fmt::format("{}: {}", error.path1().string(), error.code().message()));
    }
  });
}

/// All that was written so far, when the rest cannot be. What is there already and not ours stays.
void remove_partial(const fs::path& partial, const models::ModelFiles& files, cluster::Cluster& cluster) {
  if (cluster.rank() == 0) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(partial, ignored)) {
      if (is_ours(entry.path().filename().string(), files)) fs::remove(entry.path(), ignored);
    }
    fs::remove(partial, ignored);
  }
  cluster.barrier("remove the partial folder");  // gone for whoever looks next
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
  const Stopwatch watch;
  std::vector<Dtype> dtypes;
  for (std::size_t i = 0; i < source.table().size(); ++i) {
    dtypes.push_back(settings.dtype.value_or(source.stored_dtype(i)));
  }
  const FilePlan plan = plan_files(source.table(), std::move(dtypes), settings.max_file_bytes, settings.stem);
  const fs::path target = target_of(settings.folder);

  on_rank_0(cluster, "export: prepare the folder", [&] { prepare(target, plan, files); });
  try {
    cluster.together("export: write the tensors",
                     [&] { write_tensors(source, plan, partial_of(target), cluster); });
    on_rank_0(cluster, "export: publish the folder", [&] { publish(target, plan, files, source.table()); });
  } catch (const cluster::AgreedError&) {
    remove_partial(partial_of(target), files, cluster);
    throw;
  }

  std::size_t tensors = 0;
  for (const FilePlan::File& file : plan.files) tensors += file.tensors.size();
  log.info("{}: {} tensors in {} {}, {}, written in {}", target.string(), tensors, plan.files.size(),
           plan.files.size() == 1 ? "file" : "files", bytes_text(plan.tensor_bytes),
           seconds_text(watch.seconds()));
  const std::string note = other_dtype_than_config(plan, files);
  if (!note.empty()) log.info("{}: {}", target.string(), note);
}

}  // namespace moebius::hub

#include "checkpoint/inspect.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <map>

#include "base/text.h"
#include "checkpoint/reader.h"
#include "tensor/view.h"

namespace moebius::checkpoint {
namespace {

constexpr std::size_t kShownDamages = 20;

std::int64_t bytes_of(const StoredTensor& tensor) {
  std::int64_t bytes = size_of(tensor.dtype);
  for (const std::int64_t extent : tensor.shape) bytes *= extent;
  return bytes;
}

std::string group_of(const StoredTensor& tensor) {
  return tensor.path.substr(0, tensor.path.rfind('/'));
}

void append_tensors(const Reader& reader, std::string& text) {
  struct Total {
    std::int64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Total> totals;
  std::size_t width = 0;
  for (const StoredTensor& tensor : reader.tensors()) {
    Total& total = totals[group_of(tensor)];
    ++total.tensors, total.bytes += bytes_of(tensor);
    width = std::max(width, tensor.path.size());
  }
  std::string shown;
  for (const StoredTensor& tensor : reader.tensors()) {
    const Total& total = totals[group_of(tensor)];
    if (group_of(tensor) != shown) {
      shown = group_of(tensor);
      text += fmt::format("{}: {} tensors, {}\n", shown, total.tensors, bytes_text(total.bytes));
    }
    text += fmt::format("  {:{}}  {:8}  {}  {}\n", tensor.path.substr(shown.size() + 1),
                        width - shown.size() - 1, name_of(tensor.dtype),
                        shape_text(tensor.shape.data(), tensor.shape.size()), bytes_text(bytes_of(tensor)));
  }
}

std::string description_of(const Reader& reader) {
  const Contents& contents = reader.contents();
  std::string text =
      fmt::format("{}: {}\niteration {}, samples {}, seed {}, sequence {}\n", reader.file().string(),
                  bytes_text(std::int64_t(std::filesystem::file_size(reader.file()))), contents.iteration,
                  contents.samples, contents.seed, contents.sequence);
  if (!contents.started_on.empty()) text += fmt::format("started on {}\n", contents.started_on);
  append_tensors(reader, text);
  text += fmt::format("model files: {}\n", contents.model_files.size());
  for (const auto& [name, bytes] : contents.model_files)
    text += fmt::format("  {}  {}\n", name, bytes_text(std::int64_t(bytes.size())));
  if (contents.job.empty()) {
    text += "job: none (an imported model)\n";
  } else {
    text += "job:\n" + contents.job + (contents.job.ends_with('\n') ? "" : "\n");
  }
  return text;
}

}  // namespace

Inspection inspect(const std::filesystem::path& file, cluster::Cluster& cluster) {
  std::vector<std::string> damage;
  std::string description;
  cluster.together("read the checkpoint", [&] {
    const Reader reader(file);
    description = description_of(reader);
    damage = reader.damage(cluster.size(), cluster.rank());
  });
  Inspection inspection;
  inspection.damaged_slabs =
      cluster.all_reduce("damaged slabs", std::int64_t(damage.size()), cluster::Reduction::sum);
  inspection.text = std::move(description);
  if (inspection.damaged_slabs == 0) {
    inspection.text += "whole: every checksum is right\n";
    return inspection;
  }
  inspection.text +=
      fmt::format("DAMAGED: {} slabs are not those that were written\n", inspection.damaged_slabs);
  damage.resize(std::min(damage.size(), kShownDamages));
  for (const std::string& lines : cluster.all_gather("damage", join(damage, "\n"))) {
    if (!lines.empty()) inspection.text += lines + "\n";
  }
  return inspection;
}

}  // namespace moebius::checkpoint

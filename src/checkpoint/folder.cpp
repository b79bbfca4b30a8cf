#include "checkpoint/folder.h"

#include <algorithm>
#include <fmt/format.h>
#include <system_error>

#include "base/file.h"
#include "base/text.h"

namespace moebius::checkpoint {
namespace {

using std::filesystem::path;

constexpr std::string_view kPrefix = "step_", kSuffix = ".h5";
constexpr std::size_t kDigits = 8;

bool is_ours(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  name.remove_prefix(kPrefix.size()), name.remove_suffix(kSuffix.size());
  return name.size() >= kDigits && name.find_first_not_of("0123456789") == std::string_view::npos;
}

struct Candidate {
  path file;
  std::optional<std::int64_t> sequence;  // nothing: the file cannot be read
};

/// The folder's checkpoints, newest first; those that cannot be read stand first, by name: they are tried,
/// and their damage is told.
std::vector<Candidate> candidates_in(const path& folder) {
  std::vector<Candidate> candidates;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (!is_ours(entry.path().filename().string())) continue;
    Candidate candidate{entry.path(), std::nullopt};
    try {
      candidate.sequence = Reader(entry.path()).contents().sequence;
    } catch (const InputError&) {
      candidate.sequence = std::nullopt;
    }
    candidates.push_back(std::move(candidate));
  }
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    const auto rank_of = [](const Candidate& c) { return c.sequence.value_or(INT64_MAX); };
    if (rank_of(a) != rank_of(b)) return rank_of(a) > rank_of(b);
    return a.file.filename().string() > b.file.filename().string();
  });
  return candidates;
}

std::int64_t next_sequence(const path& folder) {
  std::int64_t highest = 0;
  for (const Candidate& candidate : candidates_in(folder))
    highest = std::max(highest, candidate.sequence.value_or(0));
  return highest + 1;
}

/// Reads one file on all ranks. Damage on any rank is told to all; everything else is thrown by all.
struct Attempt {
  Loaded loaded;
  std::string damage;  // "" where the file is whole
};
Attempt attempt_load(const path& file, const LoadStep& load, cluster::Cluster& cluster) {
  Attempt attempt{{file, {}}, ""};
  cluster.together("load the checkpoint", [&] {
    try {
      const Reader reader(file);
      load(reader);
      attempt.loaded.contents = reader.contents();
    } catch (const DamagedError& error) {
      attempt.damage = error.what();
    }
  });
  const std::vector<std::string> damages = cluster.all_gather("checkpoint damage", attempt.damage);
  const auto first = std::ranges::find_if(damages, [](const std::string& text) { return !text.empty(); });
  attempt.damage = first == damages.end() ? "" : *first;
  return attempt;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

std::string file_name_of(std::int64_t iteration) {
  return fmt::format("{}{:0{}}{}", kPrefix, iteration, kDigits, kSuffix);
}

path Folder::save(const WriteRequest& request, std::int64_t keep) {
  path file = path_ / file_name_of(request.contents.iteration);
  Contents contents;  // rank 0's go into the file
  cluster_.on_first_rank("prepare the checkpoint folder", [&] {
    std::filesystem::create_directories(path_);
    contents = request.contents;
    contents.sequence = next_sequence(path_);
  });
  WriteRequest numbered{contents, request.table, request.groups, request.buffer_bytes};
  write_checkpoint(file, numbered, cluster_);
  cluster_.on_first_rank("update the checkpoint folder", [&] {
    publish_latest(file.filename().string());
    prune(keep);
  });
  return file;
}

void Folder::publish_latest(const std::string& name) const {
  const path temporary = path_ / "latest.partial";
  write_file(temporary, name + "\n");
  std::filesystem::rename(temporary, path_ / "latest");
  sync_folder(path_);
}

/// Files that cannot be read are left for a person to look at: they are not known to be ours.
void Folder::prune(std::int64_t keep) const {
  std::int64_t seen = 0;
  for (const Candidate& candidate : candidates_in(path_)) {
    if (!candidate.sequence || ++seen <= std::max<std::int64_t>(keep, 1)) continue;
    std::error_code error;
    std::filesystem::remove(candidate.file, error);
    if (error) log_.warning("{}: cannot be removed: {}", candidate.file.string(), error.message());
  }
}

std::optional<Loaded> Folder::load_newest(const LoadStep& load) {
  std::string names;
  if (cluster_.rank() == 0) {
    for (const Candidate& candidate : candidates_in(path_))
      names += candidate.file.filename().string() + "\n";
  }
  const std::vector<std::string> candidates = lines_of(cluster_.broadcast("checkpoints", names));
  std::vector<std::string> damages;
  for (const std::string& name : candidates) {
    Attempt attempt = attempt_load(path_ / name, load, cluster_);
    if (attempt.damage.empty()) return attempt.loaded;
    log_.warning("{}; trying the one before", attempt.damage);
    damages.push_back(attempt.damage);
  }
  if (damages.empty()) return std::nullopt;
  cluster_.together("find a checkpoint", [&] {
    throw InputError(fmt::format(
        "{}: none of its {} checkpoints is whole ({}); move them away to start from the beginning",
        path_.string(), damages.size(), damages.front()));
  });
  return std::nullopt;
}

void Folder::remove_partials() {
  cluster_.on_first_rank("remove partial checkpoints", [&] {
    if (!std::filesystem::is_directory(path_)) return;
    std::vector<path> partials;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      if (entry.path().extension() == ".partial" && is_ours(entry.path().stem().string()))
        partials.push_back(entry.path());
    }
    for (const path& partial : partials) {
      std::filesystem::remove(partial);
      log_.info("{}: removed, a run died while it wrote it", partial.string());
    }
  });
}

Loaded load_checkpoint(const path& file, const LoadStep& load, cluster::Cluster& cluster) {
  Attempt attempt = attempt_load(file, load, cluster);
  cluster.together("load the checkpoint", [&] {
    if (!attempt.damage.empty()) throw InputError(attempt.damage);
  });
  return attempt.loaded;
}

}  // namespace moebius::checkpoint

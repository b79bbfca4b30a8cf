#include "training/encoded_files.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"

namespace moebius::training {
namespace {

constexpr const char* kMarker = "complete";  // holds the number of parts; written when all of them are whole
constexpr const char* kPrefix = "rows-";
constexpr int kVersion = 2;  // of what a store holds
constexpr std::int64_t kLongestMarker = 64;

/// A name for the encoding of a file: the same only for the same bytes on disk, as far as size and time tell.
std::string folder_name(const std::string& path, const std::string& key) {
  const auto status = std::filesystem::last_write_time(path).time_since_epoch().count();
  const std::string all = fmt::format("{}\n{}\n{}\n{}\n{}", std::filesystem::absolute(path).string(),
                                      std::filesystem::file_size(path), status, key, kVersion);
  return fmt::format("{}{:016x}", kPrefix, fingerprint(all));
}

/// Parts of a folder that was finished, 0 otherwise.
std::int64_t finished_parts(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / kMarker)) return 0;
  const std::string text = read_file(folder / kMarker, kLongestMarker);
  std::int64_t parts = 0;
  std::from_chars(text.data(), text.data() + text.size(), parts);
  return parts;
}

}  // namespace

void EncodedFiles::encode(const data::RowFile& file, const Encoding& encoding,
                          const std::filesystem::path& folder) {
  cluster_.on_first_rank("make the cache folder", [&] {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  });
  cluster_.together("encode", [&] {
    data::SampleWriter writer(folder, cluster_.rank());
    const data::Share share = file.share(cluster_.rank(), cluster_.size());
    const auto report = data::encode_share(
        {.file = file, .settings = encoding.rows, .encoder = encoding.encoder, .share = share}, writer);
    writer.finish(report.text());
  });
  cluster_.on_first_rank("finish the cache folder",
                         [&] { write_file(folder / kMarker, std::to_string(cluster_.size())); });
}

EncodedFile EncodedFiles::open(const std::string& path, const Encoding& encoding) {
  const auto file = cluster_.together("open " + path, [&] { return std::make_unique<data::RowFile>(path); });
  // Rank 0 looks; the others believe it, because a shared folder may show them something older.
  const std::string name = cluster_.broadcast("cache name", folder_name(path, encoding.key));
  const std::filesystem::path folder = folder_ / name;
  used_.push_back(name);
  std::int64_t parts = 0;
  cluster_.on_first_rank("look into the cache", [&] { parts = finished_parts(folder); });
  parts = cluster_.all_reduce("cache parts", parts, cluster::Reduction::max);
  if (parts == 0) {
    encode(*file, encoding, folder);
    parts = cluster_.size();
  }
  return cluster_.together("open the encoded " + path, [&] {
    EncodedFile encoded{std::make_unique<data::SampleStore>(folder, parts), {}};
    for (const std::string& text : encoded.samples->reports())
      encoded.report.add(data::ShareReport::from_text(text));
    return encoded;
  });
}

void EncodedFiles::remove_others() {
  cluster_.on_first_rank("clear the cache", [&] {
    if (!std::filesystem::is_directory(folder_)) return;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      const bool is_ours = name.starts_with(kPrefix) && entry.is_directory();
      if (is_ours && std::find(used_.begin(), used_.end(), name) == used_.end()) {
        std::filesystem::remove_all(entry.path());
      }
    }
  });
}

}  // namespace moebius::training

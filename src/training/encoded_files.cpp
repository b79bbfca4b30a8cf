#include "training/encoded_files.h"

#include <fmt/format.h>

namespace moebius::training {
namespace {

constexpr int kVersion = 2;  // of what a store holds

/// What decides an encoding: the same only for the same bytes on disk, as far as size and time tell.
std::string key_of(const std::string& path, const std::string& key) {
  const auto status = std::filesystem::last_write_time(path).time_since_epoch().count();
  return fmt::format("{}\n{}\n{}\n{}\n{}", std::filesystem::absolute(path).string(),
                     std::filesystem::file_size(path), status, key, kVersion);
}

}  // namespace

void EncodedFiles::encode(const data::RowFile& file, const Encoding& encoding,
                          const std::filesystem::path& folder) {
  folders_.begin(folder);
  cluster_.together("encode", [&] {
    data::SampleWriter writer(folder, cluster_.rank());
    const data::Share share = file.share(cluster_.rank(), cluster_.size());
    const auto report = data::encode_share(
        {.file = file, .settings = encoding.rows, .encoder = encoding.encoder, .share = share}, writer);
    writer.finish(report.text());
  });
  folders_.finish(folder, cluster_.size());
}

EncodedFile EncodedFiles::open(const std::string& path, const Encoding& encoding) {
  const auto file = cluster_.together("open " + path, [&] { return std::make_unique<data::RowFile>(path); });
  const std::filesystem::path folder = folders_.folder_of(key_of(path, encoding.key));
  std::int64_t parts = folders_.finished_parts(folder);
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

}  // namespace moebius::training

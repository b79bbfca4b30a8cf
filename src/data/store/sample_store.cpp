#include "data/store/sample_store.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "base/error.h"

namespace moebius::data {
namespace {

constexpr std::uint64_t kMagic = 0x32304c504d53424dull;  // "MBSMPL02"

struct Header {
  std::uint64_t magic, samples, token_bytes;
};

struct Entry {
  std::int64_t row;
  std::uint64_t offset;  // bytes into the tokens file
  std::uint32_t length;  // tokens
  std::uint32_t scaled;  // 1: loss_scale follows the labels
  std::uint64_t rejected_begin;
};

std::filesystem::path part_path(const std::filesystem::path& stem, const char* suffix) {
  return stem.string() + suffix;
}

std::filesystem::path part_stem(const std::filesystem::path& folder, std::int64_t part) {
  return folder / fmt::format("part-{:04}", part);
}

template <class T>
std::vector<T> copied(const std::byte* from, std::size_t count) {
  std::vector<T> values(count);
  if (count > 0) std::memcpy(values.data(), from, count * sizeof(T));
  return values;
}

const Entry* entries_of(const MappedFile& index) {
  return reinterpret_cast<const Entry*>(index.bytes().data() + sizeof(Header));
}

/// The number of samples of a part whose files belong together.
std::uint64_t checked_count(const MappedFile& index, const MappedFile& tokens, const std::string& name) {
  Header header{};
  if (index.bytes().size() >= sizeof(Header)) std::memcpy(&header, index.bytes().data(), sizeof(Header));
  const bool whole = header.magic == kMagic && header.token_bytes == tokens.bytes().size() &&
                     index.bytes().size() == sizeof(Header) + header.samples * sizeof(Entry);
  if (!whole) throw InputError(name + ": not whole; delete the folder, it is made again at the next start");
  return header.samples;
}

}  // namespace

SampleWriter::SampleWriter(const std::filesystem::path& folder, std::int64_t part)
    : stem_(part_stem(folder, part)), tokens_(part_path(stem_, ".tokens"), std::ios::binary) {
  std::filesystem::remove(part_path(stem_, ".index"));
  check(tokens_, "create");
}

void SampleWriter::add(std::int64_t row, const SampleView& sample) {
  const bool scaled = !sample.loss_scale.empty();
  const Entry entry{row, offset_, std::uint32_t(sample.ids.size()), scaled ? 1u : 0u,
                    std::uint64_t(sample.rejected_begin)};
  const auto* bytes = reinterpret_cast<const std::byte*>(&entry);
  entries_.insert(entries_.end(), bytes, bytes + sizeof(Entry));
  const auto write = [&](const auto& values) {
    tokens_.write(reinterpret_cast<const char*>(values.data()), std::streamsize(values.size_bytes()));
    offset_ += values.size_bytes();
  };
  write(sample.ids);
  write(sample.labels);
  if (scaled) write(sample.loss_scale);
  check(tokens_, "write");
}

void SampleWriter::finish(const std::string& report) {
  tokens_.close();
  check(tokens_, "close");
  std::ofstream text(part_path(stem_, ".report"), std::ios::binary);
  text << report;
  text.close();
  check(text, "write");
  const Header header{kMagic, entries_.size() / sizeof(Entry), offset_};
  std::ofstream index(part_path(stem_, ".index"), std::ios::binary);
  index.write(reinterpret_cast<const char*>(&header), sizeof(header));
  index.write(reinterpret_cast<const char*>(entries_.data()), std::streamsize(entries_.size()));
  index.close();
  check(index, "write");
}

void SampleWriter::check(const std::ofstream& stream, const char* action) const {
  if (stream) return;
  throw ClusterError(
      fmt::format("{}: cannot {} encoded samples there: {}", stem_.string(), action, std::strerror(errno)));
}

SampleStore::SampleStore(const std::filesystem::path& folder, std::int64_t parts) {
  for (std::int64_t part = 0; part < parts; ++part) {
    const auto stem = part_stem(folder, part);
    parts_.push_back({MappedFile(part_path(stem, ".tokens")), MappedFile(part_path(stem, ".index"))});
    const auto count = checked_count(parts_.back().index, parts_.back().tokens, stem.string());
    for (std::uint64_t entry = 0; entry < count; ++entry) {
      order_.push_back({std::uint32_t(part), std::uint32_t(entry)});
    }
    const MappedFile report(part_path(stem, ".report"));
    reports_.emplace_back(report.text());
  }
  const auto row_of = [&](const Place& place) {
    return entries_of(parts_[place.part].index)[place.entry].row;
  };
  std::sort(order_.begin(), order_.end(), [&](const Place& a, const Place& b) {
    return std::pair(row_of(a), a.entry) < std::pair(row_of(b), b.entry);
  });
}

std::int64_t SampleStore::length(std::int64_t index) const {
  const Place place = order_[std::size_t(index)];
  return entries_of(parts_[place.part].index)[place.entry].length;
}

std::int64_t SampleStore::row(std::int64_t index) const {
  const Place place = order_[std::size_t(index)];
  return entries_of(parts_[place.part].index)[place.entry].row;
}

void SampleStore::read(std::int64_t index, Sample& sample) const {
  const Place place = order_[std::size_t(index)];
  const Entry& entry = entries_of(parts_[place.part].index)[place.entry];
  const std::byte* bytes = parts_[place.part].tokens.bytes().data() + entry.offset;
  const std::size_t span = entry.length * sizeof(std::int32_t);
  sample.ids = copied<std::int32_t>(bytes, entry.length);
  sample.labels = copied<std::int32_t>(bytes + span, entry.length);
  sample.loss_scale = copied<float>(bytes + 2 * span, entry.scaled != 0 ? entry.length : 0);
  sample.rejected_begin = std::int64_t(entry.rejected_begin);
}

}  // namespace moebius::data

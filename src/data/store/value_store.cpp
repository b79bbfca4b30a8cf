#include "data/store/value_store.h"

#include <cstring>
#include <fmt/format.h>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace moebius::data {
namespace {

constexpr std::uint64_t kMagic = 0x31304c41564d424dull;  // "MBMVAL01"

struct Header {
  std::uint64_t magic, samples, floats, checksum;  // of the lists, then of the entries
};

struct Entry {
  std::int64_t sample;
  std::uint64_t begin, count;  // in floats
};

std::filesystem::path stem_of(const std::filesystem::path& folder, std::int64_t part) {
  return folder / fmt::format("part-{:04}", part);
}
std::filesystem::path with(const std::filesystem::path& stem, const char* suffix) {
  return stem.string() + suffix;
}

template <class T>
std::string_view text_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

Header header_of(std::string_view index) {
  Header header{};
  if (index.size() >= sizeof(Header)) std::memcpy(&header, index.data(), sizeof(Header));
  return header;
}

[[noreturn]] void refuse(const std::filesystem::path& stem) {
  throw InputError(stem.string() + ": not whole");
}

}  // namespace

ValueWriter::ValueWriter(const std::filesystem::path& folder, std::int64_t part)
    : stem_(stem_of(folder, part)), values_(with(stem_, ".values"), std::ios::binary), checksum_(kNoText) {
  std::filesystem::remove(with(stem_, ".index"));
  check();
}

void ValueWriter::add(std::int64_t sample, std::span<const float> values) {
  const Entry entry{sample, floats_, values.size()};
  entries_ += text_of(std::span(&entry, 1));
  const std::string_view text = text_of(values);
  values_.write(text.data(), std::streamsize(text.size()));
  check();
  floats_ += values.size();
  checksum_ = fingerprint(text, checksum_);
}

void ValueWriter::finish() {
  values_.close();
  check();
  const Header header{kMagic, entries_.size() / sizeof(Entry), floats_, fingerprint(entries_, checksum_)};
  write_file(with(stem_, ".index"), std::string(text_of(std::span(&header, 1))) + entries_);
}

void ValueWriter::check() const {
  if (values_) return;
  throw ClusterError(fmt::format("{}: cannot write numbers there: {}", stem_.string(), std::strerror(errno)));
}

ValueStore::ValueStore(const std::filesystem::path& folder, std::int64_t parts) {
  for (std::int64_t number = 0; number < parts; ++number) {
    const std::filesystem::path stem = stem_of(folder, number);
    parts_.push_back({stem, MappedFile(with(stem, ".values")), MappedFile(with(stem, ".index"))});
    const auto& [name, values, index] = parts_.back();
    const Header header = header_of(index.text());
    const bool fits = header.magic == kMagic && values.text().size() == header.floats * sizeof(float) &&
                      index.text().size() == sizeof(Header) + header.samples * sizeof(Entry);
    if (!fits) refuse(stem);
    const auto* entries = reinterpret_cast<const Entry*>(index.bytes().data() + sizeof(Header));
    const auto* floats = reinterpret_cast<const float*>(values.bytes().data());
    for (std::uint64_t i = 0; i < header.samples; ++i) {
      const auto& [sample, begin, count] = entries[i];
      if (begin > header.floats || count > header.floats - begin) refuse(stem);
      lists_.try_emplace(sample, floats + begin, count);
    }
  }
}

void ValueStore::verify(std::int64_t part) const {
  const auto& [stem, values, index] = parts_[std::size_t(part)];
  const std::uint64_t checksum = fingerprint(index.text().substr(sizeof(Header)), fingerprint(values.text()));
  if (checksum != header_of(index.text()).checksum) refuse(stem);
}

std::optional<std::span<const float>> ValueStore::find(std::int64_t sample) const {
  const auto found = lists_.find(sample);
  if (found == lists_.end()) return std::nullopt;
  return found->second;
}

}  // namespace moebius::data

#include "checkpoint/checksums.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <xxhash.h>

#include "base/math.h"

namespace moebius::checkpoint {
namespace {

constexpr std::size_t kMaxDims = 6;
constexpr std::int64_t kPlaceWords = 2 + 2 * std::int64_t(kMaxDims);  // tensor, dims, begin and end of each
constexpr std::int64_t kMaxTableBytes = std::int64_t{1} << 30;
const std::string kTensors = "checksums/tensors", kSlabs = "checksums/slabs", kXxh3 = "checksums/xxh3";
const std::string kTableChecksum = "checksum";

/// The table as the three datasets hold it.
struct Encoded {
  std::string tensors;                   // one a line
  std::vector<std::int64_t> places;      // [slabs, kPlaceWords]
  std::vector<std::uint64_t> checksums;  // [slabs]

  [[nodiscard]] std::int64_t count() const { return std::int64_t(checksums.size()); }
  [[nodiscard]] std::uint64_t checksum() const {
    const std::array<std::uint64_t, 3> parts{
        checksum_of(tensors.data(), std::int64_t(tensors.size())),
        checksum_of(places.data(), std::int64_t(places.size() * sizeof(std::int64_t))),
        checksum_of(checksums.data(), std::int64_t(checksums.size() * sizeof(std::uint64_t)))};
    return checksum_of(parts.data(), sizeof(parts));
  }
};

void append_place(const SlabRecord& record, std::vector<std::int64_t>& words) {
  if (record.slab.ranges.size() > kMaxDims) throw std::logic_error("a tensor of more than 6 dims");
  const std::size_t begin = words.size();
  words.resize(begin + std::size_t(kPlaceWords));
  words[begin] = record.tensor;
  words[begin + 1] = std::int64_t(record.slab.ranges.size());
  for (std::size_t dim = 0; dim < record.slab.ranges.size(); ++dim) {
    words[begin + 2 + 2 * dim] = record.slab.ranges[dim].begin;
    words[begin + 3 + 2 * dim] = record.slab.ranges[dim].end;
  }
}

SlabRecord record_of(const std::int64_t* words, std::uint64_t checksum) {
  SlabRecord record{words[0], {}, checksum};
  if (words[1] < 0 || words[1] > std::int64_t(kMaxDims)) throw Hdf5Error("a slab of more than 6 dims");
  for (std::int64_t dim = 0; dim < words[1]; ++dim)
    record.slab.ranges.push_back({words[2 + 2 * dim], words[3 + 2 * dim]});
  return record;
}

Encoded encode(const ChecksumTable& table) {
  Encoded encoded;
  for (const std::string& path : table.tensors) encoded.tensors += path + "\n";
  for (const SlabRecord& record : table.slabs) {
    append_place(record, encoded.places);
    encoded.checksums.push_back(record.checksum);
  }
  return encoded;
}

ChecksumTable decode(const Encoded& encoded) {
  ChecksumTable table;
  for (std::size_t begin = 0; begin < encoded.tensors.size();) {
    const std::size_t end = encoded.tensors.find('\n', begin);
    table.tensors.push_back(encoded.tensors.substr(begin, end - begin));
    begin = end == std::string::npos ? encoded.tensors.size() : end + 1;
  }
  for (std::int64_t slab = 0; slab < encoded.count(); ++slab)
    table.slabs.push_back(
        record_of(encoded.places.data() + slab * kPlaceWords, encoded.checksums[std::size_t(slab)]));
  return table;
}

Handle text_type(std::size_t size) {
  Handle type(checked(H5Tcopy(H5T_C_S1), "text type"), H5Tclose);
  checked(H5Tset_size(type.get(), size), "text type");
  checked(H5Tset_cset(type.get(), H5T_CSET_UTF8), "text type");
  checked(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "text type");
  return type;
}

/// The whole dataset, after a look at its size, as elements of T.
template <class T>
std::vector<T> load_all(hid_t file, const std::string& path) {
  const Dataset dataset = open_dataset(file, path);
  const models::Slab whole = whole_slab(dataset.shape);
  if (dataset.bytes() > kMaxTableBytes || dataset.bytes() % std::int64_t(sizeof(T)) != 0)
    throw Hdf5Error("'" + path + "' has an impossible size");
  std::vector<T> values(std::size_t(dataset.bytes()) / sizeof(T));
  if (!values.empty()) read_slab(dataset, whole, values.data());
  return values;
}

}  // namespace

std::uint64_t checksum_of(const void* bytes, std::int64_t count) {
  return XXH3_64bits(bytes, std::size_t(count));
}

std::string to_bytes(std::span<const SlabRecord> records) {
  std::vector<std::int64_t> words;
  for (const SlabRecord& record : records) {
    append_place(record, words);
    words.push_back(std::bit_cast<std::int64_t>(record.checksum));
  }
  return {reinterpret_cast<const char*>(words.data()), words.size() * sizeof(std::int64_t)};
}

std::vector<SlabRecord> from_bytes(std::string_view bytes) {
  if (bytes.empty()) return {};  // of a rank that wrote nothing
  std::vector<std::int64_t> words(bytes.size() / sizeof(std::int64_t));
  std::memcpy(words.data(), bytes.data(), words.size() * sizeof(std::int64_t));
  std::vector<SlabRecord> records;
  for (std::size_t begin = 0; begin < words.size(); begin += std::size_t(kPlaceWords) + 1) {
    const std::int64_t* place = words.data() + begin;
    records.push_back(record_of(place, std::bit_cast<std::uint64_t>(place[kPlaceWords])));
  }
  return records;
}

void store(hid_t file, const ChecksumTable& table) {
  const Encoded encoded = encode(table);
  (void)write_bytes(file, kTensors, encoded.tensors, BytesKind::text);

  const std::vector<std::int64_t> shape{encoded.count(), kPlaceWords};
  const Dataset places = create_dataset(file, kSlabs, type_of(Dtype::int64), shape);
  const Dataset checksums =
      create_dataset(file, kXxh3, {H5Tcopy(H5T_STD_U64LE), H5Tclose}, {encoded.count()});
  const models::Slab all_places = whole_slab(shape), all_checksums = whole_slab({encoded.count()});
  write_slab(places, &all_places, encoded.places.data(), H5P_DEFAULT);
  write_slab(checksums, &all_checksums, encoded.checksums.data(), H5P_DEFAULT);
  write_attribute(file, kTableChecksum, std::bit_cast<std::int64_t>(encoded.checksum()));
}

ChecksumTable load_checksums(hid_t file) {
  if (!has_attribute(file, kTableChecksum)) throw Hdf5Error("it was not finished");
  Encoded encoded;
  const std::vector<char> tensors = load_all<char>(file, kTensors);
  encoded.tensors.assign(tensors.begin(), tensors.end());
  encoded.places = load_all<std::int64_t>(file, kSlabs);
  encoded.checksums = load_all<std::uint64_t>(file, kXxh3);
  if (std::int64_t(encoded.places.size()) != encoded.count() * kPlaceWords ||
      std::bit_cast<std::uint64_t>(read_integer(file, kTableChecksum)) != encoded.checksum()) {
    throw Hdf5Error("its table of checksums is damaged");
  }
  return decode(encoded);
}

SlabRecord write_bytes(hid_t file, const std::string& path, std::string_view bytes, BytesKind kind) {
  const auto count = std::int64_t(bytes.size());
  const bool as_text = kind == BytesKind::text && count > 0;  // HDF5 has no text of 0 bytes
  const std::vector<std::int64_t> shape = as_text ? std::vector<std::int64_t>{} : std::vector{count};
  Handle type = as_text ? text_type(bytes.size()) : Handle(H5Tcopy(H5T_STD_U8LE), H5Tclose);
  const Dataset dataset = create_dataset(file, path, std::move(type), shape);
  SlabRecord record{0, whole_slab(shape), checksum_of(bytes.data(), count)};
  if (count > 0) write_slab(dataset, &record.slab, bytes.data(), H5P_DEFAULT);
  return record;
}

}  // namespace moebius::checkpoint

#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/hdf5.h"
#include "checkpoint/slabs.h"
#include "models/parameter_table.h"

/// The table of a file's slabs and their checksums. Internal.
namespace moebius::checkpoint {

/// XXH3-64.
[[nodiscard]] std::uint64_t checksum_of(const void* bytes, std::int64_t count);

struct SlabRecord {
  std::int64_t tensor = 0;  // index into ChecksumTable::tensors
  models::Slab slab;
  std::uint64_t checksum = 0;
};

struct ChecksumTable {
  std::vector<std::string> tensors;  // paths in the file
  std::vector<SlabRecord> slabs;     // in the order of the tensors, then of their places
};

/// Records as bytes, for the way between ranks.
[[nodiscard]] std::string to_bytes(std::span<const SlabRecord> records);
[[nodiscard]] std::vector<SlabRecord> from_bytes(std::string_view bytes);

/// Writes /checksums and, last, the root's attribute `checksum`.
void store(hid_t file, const ChecksumTable& table);
/// Throws Hdf5Error where the table is absent, damaged, or not one of this file.
[[nodiscard]] ChecksumTable load_checksums(hid_t file);

/// A dataset of bytes in one record: text (readable in any tool) or raw.
enum class BytesKind : std::uint8_t { text, raw };
[[nodiscard]] SlabRecord write_bytes(hid_t file, const std::string& path, std::string_view bytes,
                                     BytesKind kind);

}  // namespace moebius::checkpoint

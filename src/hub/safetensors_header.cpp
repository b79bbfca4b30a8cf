#include "hub/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>

#include "base/error.h"
#include "hub/json_text.h"

namespace moebius::hub {
namespace {

using nlohmann::json;

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kMaxDims = 8;
constexpr const char* kMetadata = "__metadata__";

struct DtypeWord {
  std::string_view word;
  int bits;
  std::optional<Dtype> dtype;
};
constexpr std::array<DtypeWord, 21> kDtypeWords{{
    {"F32", 32, Dtype::float32},
    {"BF16", 16, Dtype::bfloat16},
    {"F16", 16, Dtype::float16},
    {"F64", 64, Dtype::float64},
    {"I32", 32, Dtype::int32},
    {"I64", 64, Dtype::int64},
    {"BOOL", 8, {}},
    {"U8", 8, {}},
    {"I8", 8, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"U32", 32, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
    {"F8_E4M3FNUZ", 8, {}},
}};

/// What is wrong with one tensor of one file.
class TensorFault {
 public:
  TensorFault(const std::string& file, const std::string& tensor) : file_(file), tensor_(tensor) {}
  [[noreturn]] void operator()(const std::string& reason) const {
    throw InputError(fmt::format("{}: tensor '{}': {}", file_, tensor_, reason));
  }

 private:
  const std::string& file_;
  const std::string& tensor_;
};

const json& field(const json& entry, const char* key, const TensorFault& fault) {
  const auto found = entry.find(key);
  if (found == entry.end()) fault(fmt::format("has no \"{}\"", key));
  return *found;
}

/// A list of whole numbers that are not negative and fit an int64.
std::vector<std::int64_t> whole_numbers(const json& list, const char* key, const TensorFault& fault) {
  std::vector<std::int64_t> numbers;
  if (!list.is_array()) fault(fmt::format("\"{}\" is {}, not a list", key, list.dump()));
  for (const json& item : list) {
    const bool fits = item.is_number_unsigned() &&
                      item.get<std::uint64_t>() <= std::uint64_t(std::numeric_limits<std::int64_t>::max());
    if (!fits)
      fault(fmt::format("\"{}\" has {}, which is no whole number from 0 to 2^63 - 1", key, item.dump()));
    numbers.push_back(item.get<std::int64_t>());
  }
  return numbers;
}

/// Bytes that a tensor needs; the product must not overflow before it can be compared with the offsets.
std::int64_t bytes_of(const TensorInfo& tensor, const DtypeWord& type, const TensorFault& fault) {
  std::int64_t bits = type.bits;
  for (const std::int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(bits, extent, &bits)) {
      fault(fmt::format("shape {} of {} has more than 2^63 bits", tensor.shape, type.word));
    }
  }
  if (bits % 8 != 0)
    fault(fmt::format("shape {} of {} is no whole number of bytes", tensor.shape, type.word));
  return bits / 8;
}

TensorInfo parse_tensor(const std::string& file, const std::string& name, const json& entry) {
  const TensorFault fault(file, name);
  if (!entry.is_object()) fault(fmt::format("is described by {}, not by an object", entry.dump()));
  const json& word = field(entry, "dtype", fault);
  const auto type = std::find_if(kDtypeWords.begin(), kDtypeWords.end(), [&](const DtypeWord& known) {
    return word.is_string() && word.get_ref<const std::string&>() == known.word;
  });
  if (type == kDtypeWords.end()) fault(fmt::format("dtype {} is unknown", word.dump()));

  TensorInfo tensor{.name = name, .dtype_word = std::string(type->word), .dtype = type->dtype};
  tensor.shape = whole_numbers(field(entry, "shape", fault), "shape", fault);
  if (tensor.shape.size() > kMaxDims) {
    fault(fmt::format("has {} dims; at most {} are read", tensor.shape.size(), kMaxDims));
  }
  const std::int64_t bytes = bytes_of(tensor, *type, fault);
  const std::vector<std::int64_t> offsets =
      whole_numbers(field(entry, "data_offsets", fault), "data_offsets", fault);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fault(fmt::format("data_offsets {} are no begin and end", offsets));
  }
  tensor.bytes = {offsets[0], offsets[1]};
  if (tensor.bytes.size() != bytes) {
    fault(fmt::format("data_offsets {} hold {} bytes, but shape {} of {} has {}", offsets,
                      tensor.bytes.size(), tensor.shape, type->word, bytes));
  }
  return tensor;
}

void check_metadata(const std::string& file, const json& metadata) {
  const bool is_strings =
      metadata.is_object() &&
      std::all_of(metadata.begin(), metadata.end(), [](const json& value) { return value.is_string(); });
  if (!is_strings) throw InputError(fmt::format("{}: \"{}\" is not an object of strings", file, kMetadata));
}

/// The data must be covered from its first byte to the file's last one, each byte by one tensor.
void check_coverage(const std::string& file, const std::vector<TensorInfo>& sorted, std::int64_t data_bytes) {
  std::int64_t end = 0;
  const std::string* before = nullptr;
  for (const TensorInfo& tensor : sorted) {
    if (tensor.bytes.begin != end) {
      TensorFault(file, tensor.name)(
          fmt::format("begins at byte {} of the data, but {} ends at {}: {}", tensor.bytes.begin,
                      before == nullptr ? "nothing before it" : fmt::format("'{}' before it", *before), end,
                      tensor.bytes.begin < end ? "they overlap" : "there is a gap"));
    }
    end = tensor.bytes.end;
    before = &tensor.name;
  }
  if (end != data_bytes) {
    throw InputError(fmt::format("{}: the tensors take {} bytes, but {} follow the header: {}", file, end,
                                 data_bytes,
                                 end > data_bytes ? "the file is cut short; fetch it again"
                                                  : "there is something behind the last tensor"));
  }
}

std::int64_t header_length(const File& file) {
  const std::string name = file.path().string();
  const std::int64_t size = file.size();
  if (size < kLengthBytes) {
    throw InputError(fmt::format("{}: {} bytes are too few for a safetensors file", name, size));
  }
  std::array<unsigned char, kLengthBytes> bytes{};
  file.read_at(0, std::as_writable_bytes(std::span(bytes)));
  std::uint64_t length = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) length = length << 8 | bytes[i];
  if (length > std::uint64_t(size - kLengthBytes)) {
    throw InputError(
        fmt::format("{}: by its first 8 bytes the header is {} bytes long, but only {} follow: the file is "
                    "cut short or no safetensors file",
                    name, length, size - kLengthBytes));
  }
  if (length > std::uint64_t(kMaxHeaderBytes)) {
    throw InputError(fmt::format("{}: the header is {} bytes long; more than {} are not read", name, length,
                                 kMaxHeaderBytes));
  }
  return std::int64_t(length);
}

}  // namespace

std::int64_t TensorInfo::size() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::string_view safetensors_word(Dtype dtype) {
  for (const DtypeWord& known : kDtypeWords) {
    if (known.dtype == dtype) return known.word;
  }
  return {};
}

SafetensorsHeader read_header(const File& file) {
  const std::string name = file.path().string();
  const std::int64_t length = header_length(file);
  std::string text(std::size_t(length), '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span(text)));
  const json entries = parse_json_object(text, name, kLengthBytes);

  SafetensorsHeader header{.data_begin = kLengthBytes + length};
  for (const auto& [key, entry] : entries.items()) {
    if (key == kMetadata) {
      check_metadata(name, entry);
      continue;
    }
    header.tensors.push_back(parse_tensor(name, key, entry));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.bytes.begin, a.bytes.end) < std::pair(b.bytes.begin, b.bytes.end);
  });
  check_coverage(name, header.tensors, file.size() - header.data_begin);
  return header;
}

std::string header_bytes(const std::vector<TensorInfo>& tensors) {
  nlohmann::ordered_json entries;
  entries[kMetadata] = {{"format", "pt"}};
  for (const TensorInfo& tensor : tensors) {
    entries[tensor.name] = {{"dtype", tensor.dtype_word},
                            {"shape", tensor.shape},
                            {"data_offsets", {tensor.bytes.begin, tensor.bytes.end}}};
  }
  std::string text = entries.dump();
  text.resize(std::size_t(round_up(std::int64_t(text.size()), 8)), ' ');
  std::string bytes;
  for (int i = 0; i < int(kLengthBytes); ++i) bytes += char(text.size() >> (8 * i) & 0xff);
  return bytes + text;
}

}  // namespace moebius::hub

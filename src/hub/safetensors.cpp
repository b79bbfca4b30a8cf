#include "hub/safetensors.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "hub/safetensors_header.h"
#include "tensor/convert.h"

namespace moebius::hub {
namespace {

constexpr std::int64_t kWindowBytes = std::int64_t{4} << 20;
// Runs nearer than this are read in one call with what lies between them: another call, which may be a trip
// to a file server, costs more than copying as much.
constexpr std::int64_t kGapBytes = std::int64_t{64} << 10;

/// What `read` needs at hand: where elements come from and where they go.
struct Transfer {
  const File& file;
  std::int64_t tensor_begin;  // byte of the file
  Dtype from, to;
  std::byte* out;
  std::vector<std::byte> window;

  void read_window(std::int64_t begin, std::int64_t end) {  // elements of the tensor
    const std::int64_t item = size_of(from);
    window.resize(std::size_t((end - begin) * item));
    file.read_at(tensor_begin + begin * item, window);
  }
  void convert_run(const models::Run& run, std::int64_t window_begin) {
    convert(from, window.data() + (run.whole - window_begin) * size_of(from), to,
            out + run.local * size_of(to), run.count);
  }
};

/// A run that is longer than the window: straight into place, or converted piece by piece.
void read_long_run(Transfer& transfer, const models::Run& run) {
  const std::int64_t item = size_of(transfer.from);
  if (transfer.from == transfer.to) {
    transfer.file.read_at(transfer.tensor_begin + run.whole * item,
                          {transfer.out + run.local * item, std::size_t(run.count * item)});
    return;
  }
  const std::int64_t piece_size = kWindowBytes / item;
  for (std::int64_t done = 0; done < run.count; done += piece_size) {
    const models::Run piece{run.local + done, run.whole + done, std::min(piece_size, run.count - done)};
    transfer.read_window(piece.whole, piece.whole + piece.count);
    transfer.convert_run(piece, piece.whole);
  }
}

std::vector<models::Run> runs_of(const TensorInfo& tensor, const models::Slab& slab) {
  models::Parameter whole;
  whole.shape = tensor.shape;
  if (tensor.shape.empty()) return {{0, 0, 1}};  // a scalar
  return models::runs_of(whole, slab);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path, File::Mode::read) {
  SafetensorsHeader header = read_header(file_);
  data_begin_ = header.data_begin;
  tensors_ = std::move(header.tensors);
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_of_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_of_.find(name);
  return found == index_of_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsFile::read(const TensorInfo& tensor, const models::Slab& slab, Dtype dtype, void* out) const {
  const bool readable =
      tensor.dtype == dtype || (tensor.dtype && is_floating(*tensor.dtype) && is_floating(dtype));
  if (!readable) {
    throw InputError(
        fmt::format("{}: tensor '{}': {} cannot be read as {}; weights must be F32, BF16, F16 or F64",
                    path().string(), tensor.name, tensor.dtype_word, name_of(dtype)));
  }
  Transfer transfer{.file = file_,
                    .tensor_begin = data_begin_ + tensor.bytes.begin,
                    .from = *tensor.dtype,
                    .to = dtype,
                    .out = static_cast<std::byte*>(out)};
  const std::vector<models::Run> runs = runs_of(tensor, slab);
  const std::int64_t window_size = kWindowBytes / size_of(transfer.from);
  const std::int64_t gap_size = kGapBytes / size_of(transfer.from);
  for (std::size_t i = 0; i < runs.size();) {
    const models::Run& first = runs[i];
    if (first.count > window_size) {
      read_long_run(transfer, first);
      ++i;
      continue;
    }
    std::int64_t end = first.whole + first.count;
    std::size_t behind = i + 1;
    for (; behind < runs.size(); ++behind) {
      const std::int64_t next_end = runs[behind].whole + runs[behind].count;
      if (runs[behind].whole - end > gap_size || next_end - first.whole > window_size) break;
      end = next_end;
    }
    const std::int64_t begin = first.whole;
    transfer.read_window(begin, end);
    for (; i < behind; ++i) transfer.convert_run(runs[i], begin);
  }
}

}  // namespace moebius::hub

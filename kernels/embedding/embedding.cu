#include <cub/device/device_radix_sort.cuh>

#include <algorithm>
#include <bit>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
#include "kernels/device/row_copy.cuh"
#include "kernels/embedding/embedding.h"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 8;  // rows of dy that a lane has in flight

/// The row of this rank's part of the table, or `rows`: of another rank, or none.
__device__ __forceinline__ std::int64_t row_of(std::int32_t id, std::int64_t vocab_begin, std::int64_t rows) {
  const std::int64_t row = id - vocab_begin;
  return id < 0 || row < 0 || row >= rows ? rows : row;
}

template <int Width, class T>
__global__ void __launch_bounds__(kThreads) forward_kernel(const EmbeddingForward<T, Space::device> op) {
  const std::int64_t t = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (t >= op.y.shape[0]) return;
  const std::int64_t hidden = op.y.shape[1], rows = op.table.shape[0];
  const std::int64_t row = row_of(op.ids(t), op.vocab_begin, rows);
  copy_row<Width>(row == rows ? nullptr : op.table.data + row * hidden, op.y.data + t * hidden,
                  hidden / Width);
}

// ---- Backward: tokens sorted by row, stably; then a row's first token leads the sum over all of them.

/// In scratch, each [tokens].
struct Order {
  std::uint32_t *rows, *sorted_rows;
  std::int32_t *tokens, *sorted_tokens;
};

__global__ void __launch_bounds__(kThreads)
    rows_kernel(const View<const std::int32_t, 1, Space::device> ids, std::int64_t vocab_begin,
                std::int64_t rows, const Order order) {
  const std::int64_t t = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (t >= ids.shape[0]) return;
  order.rows[t] = std::uint32_t(row_of(ids(t), vocab_begin, rows));
  order.tokens[t] = std::int32_t(t);
}

/// sum += the rows of dy that lanes 0 .. count-1 of the warp name, in order; every lane's own Width columns.
template <int Width, class T>
__device__ __forceinline__ void add_tokens(const T* dy, std::int64_t hidden, std::int32_t token, int count,
                                           float (&sum)[Width]) {
  const auto row = [&](int lane) { return dy + __shfl_sync(0xffffffffu, token, lane) * hidden; };
  const auto take_in = [&](const Chunk<T, Width>& chunk) {
#pragma unroll
    for (int i = 0; i < Width; ++i) sum[i] += to_float(chunk[i]);
  };
  int k = 0;
  for (; k + kUnroll <= count; k += kUnroll) {
    Chunk<T, Width> chunks[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) chunks[u] = load_chunk<Width>(row(k + u));
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) take_in(chunks[u]);
  }
  for (; k < count; ++k) take_in(load_chunk<Width>(row(k)));
}

/// Columns `first` and those beside it of one table row: the sum over its tokens, which are those from
/// `position` on in the order. Lanes beyond the row read columns of its end and store nothing.
template <int Width, class T, class G>
__device__ __forceinline__ void sum_columns(const EmbeddingBackward<T, Space::device, G>& op,
                                            const Order& order, std::int64_t position, std::uint32_t row,
                                            std::int64_t first) {
  const std::int64_t tokens = op.dy.shape[0], hidden = op.dy.shape[1];
  const bool has_columns = first < hidden;
  const std::int64_t c = has_columns ? first : hidden - Width;
  G* const to = op.dtable.data + std::int64_t{row} * hidden + c;
  float sum[Width] = {};
  if (op.into == Into::add) load_floats(to, sum);
  const int lane = int(threadIdx.x) % 32;
  int count = 32;
  for (std::int64_t begin = position; count == 32; begin += 32) {
    const std::int64_t at = begin + lane;
    const bool is_of_row = at < tokens && order.sorted_rows[at] == row;
    const std::int32_t token = is_of_row ? order.sorted_tokens[at] : 0;
    count = __popc(__ballot_sync(0xffffffffu, is_of_row));
    add_tokens<Width>(op.dy.data + c, hidden, token, count, sum);
  }
  if (has_columns) store_floats(to, sum);
}

/// A block a position of the order, a warp 32 chunks of columns; blocks whose token is not its row's first do
/// nothing.
template <int Width, class T, class G>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const EmbeddingBackward<T, Space::device, G> op, const Order order) {
  const std::int64_t position = blockIdx.x, hidden = op.dy.shape[1];
  const std::uint32_t row = order.sorted_rows[position];
  if (row == op.dtable.shape[0] || (position > 0 && order.sorted_rows[position - 1] == row)) return;
  const std::int64_t step = std::int64_t{blockDim.x} * Width;
  for (std::int64_t begin = std::int64_t{threadIdx.x / 32} * (32 * Width); begin < hidden; begin += step) {
    sum_columns<Width>(op, order, position, row, begin + threadIdx.x % 32 * Width);
  }
}

/// Queues the sorting of `ids`, in scratch.
template <class T, class G>
Order sorted_order(const EmbeddingBackward<T, Space::device, G>& op, Queue<Space::device> queue) {
  const std::int64_t tokens = op.ids.shape[0], rows = op.dtable.shape[0];
  const int bits = std::bit_width(std::uint64_t(rows));  // the key `rows` too: no row of ours
  std::size_t sort_bytes = 0;
  const auto sort = [&](void* memory, const Order& order) {
    check(cub::DeviceRadixSort::SortPairs(memory, sort_bytes, order.rows, order.sorted_rows, order.tokens,
                                          order.sorted_tokens, int(tokens), 0, bits, queue.stream));
  };
  sort(nullptr, Order{});
  const std::int64_t run = round_up(tokens * 4, 256);  // bytes of a run of numbers
  auto* const memory = static_cast<std::byte*>(queue.device->scratch(4 * run + std::int64_t(sort_bytes)));
  const Order order{.rows = reinterpret_cast<std::uint32_t*>(memory),
                    .sorted_rows = reinterpret_cast<std::uint32_t*>(memory + run),
                    .tokens = reinterpret_cast<std::int32_t*>(memory + 2 * run),
                    .sorted_tokens = reinterpret_cast<std::int32_t*>(memory + 3 * run)};
  rows_kernel<<<unsigned(divide_up(tokens, kThreads)), kThreads, 0, queue.stream>>>(op.ids, op.vocab_begin,
                                                                                    rows, order);
  check(cudaGetLastError());
  sort(memory + 4 * run, order);
  return order;
}

template <class T, class... Pointer>
bool has_packs(std::int64_t hidden, const Pointer*... pointer) {
  return hidden % kPack<T> == 0 && (is_aligned(pointer) && ...);
}

}  // namespace

template <class T>
void embedding_forward(const EmbeddingForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.y.size() == 0) return;
  const bool packed = has_packs<T>(op.y.shape[1], op.table.data, op.y.data);
  const auto kernel = packed ? forward_kernel<kPack<T>, T> : forward_kernel<1, T>;
  const std::int64_t blocks = divide_up(op.y.shape[0], kThreads / 32);
  kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template <class T, class G>
void embedding_backward(const EmbeddingBackward<T, Space::device, G>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t tokens = op.dy.shape[0], hidden = op.dy.shape[1];
  if (op.dtable.size() == 0) return;
  if (op.into == Into::overwrite) {
    check(cudaMemsetAsync(op.dtable.data, 0, std::size_t(op.dtable.size()) * sizeof(G), queue.stream));
  }
  if (tokens == 0) return;
  const Order order = sorted_order(op, queue);
  const bool packed = has_packs<T>(hidden, op.dy.data, op.dtable.data);
  const std::int64_t warps = divide_up(hidden, packed ? 32 * kPack<T> : 32);
  const int threads = int(std::min<std::int64_t>(kThreads, warps * 32));
  const auto kernel = packed ? sum_kernel<kPack<T>, T, G> : sum_kernel<1, T, G>;
  kernel<<<unsigned(tokens), threads, 0, queue.stream>>>(op, order);
  check(cudaGetLastError());
}

template void embedding_forward(const EmbeddingForward<float, Space::device>&, Queue<Space::device>);
template void embedding_forward(const EmbeddingForward<bf16, Space::device>&, Queue<Space::device>);
template void embedding_backward(const EmbeddingBackward<float, Space::device>&, Queue<Space::device>);
template void embedding_backward(const EmbeddingBackward<bf16, Space::device>&, Queue<Space::device>);
template void embedding_backward(const EmbeddingBackward<bf16, Space::device, bf16>&, Queue<Space::device>);

}  // namespace moebius::kernels

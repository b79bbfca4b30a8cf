#include <algorithm>

#include "kernels/device/chunk.cuh"
#include "kernels/device/column_sums.cuh"
#include "kernels/device/device.h"
#include "kernels/device/row_sums.cuh"
#include "kernels/norm/rmsnorm.h"

/// A block has some rows at once. Where a pack of 16 bytes a thread covers a row, every number is read once
/// and kept in registers until the row's sum is there; wider or unaligned rows are walked through twice.
namespace moebius::kernels {
namespace {

constexpr int kWideThreads = 256;      // of the kernels for rows of any kind
constexpr int kResidentThreads = 768;  // of a multiprocessor, in backward: 80 registers each

constexpr int resident_blocks(int threads) {
  return std::max(1, kResidentThreads / threads);
}
/// What a mean counts one of `hidden` numbers as.
float share_of_one(std::int64_t hidden) {
  return 1 / float(hidden);
}

// ---- Forward: what differs with and without the sum

template <class T>
struct Input {
  Chunk<T, kPack<T>> x;

  __device__ __forceinline__ void load(const RmsNormForward<T, Space::device>& op, std::int64_t at) {
    x = load_chunk<kPack<T>>(op.x.data + at);
  }
  __device__ __forceinline__ Chunk<T, kPack<T>> take(const RmsNormForward<T, Space::device>&,
                                                     std::int64_t) const {
    return x;
  }
};

template <class T>
struct InputSum {
  Chunk<T, kPack<T>> x, delta;

  __device__ __forceinline__ void load(const AddRmsNormForward<T, Space::device>& op, std::int64_t at) {
    x = load_chunk<kPack<T>>(op.x.data + at);
    delta = load_chunk<kPack<T>>(op.delta.data + at);
  }
  __device__ __forceinline__ Chunk<T, kPack<T>> take(const AddRmsNormForward<T, Space::device>& op,
                                                     std::int64_t at) const {
    float sums[kPack<T>];
#pragma unroll
    for (int i = 0; i < kPack<T>; ++i) sums[i] = to_float(x[i]) + to_float(delta[i]);
    const auto sum = rounded<T>(sums);
    store_chunk<kPack<T>>(op.sum.data + at, sum);
    return sum;
  }
};

template <class T>
Input<T> input_of(const RmsNormForward<T, Space::device>&);
template <class T>
InputSum<T> input_of(const AddRmsNormForward<T, Space::device>&);

template <class T>
__device__ T take_one(const RmsNormForward<T, Space::device>& op, std::int64_t at) {
  return op.x.data[at];
}
template <class T>
__device__ T take_one(const AddRmsNormForward<T, Space::device>& op, std::int64_t at) {
  return op.sum.data[at] = from_float<T>(to_float(op.x.data[at]) + to_float(op.delta.data[at]));
}
template <class T>
__device__ T taken(const RmsNormForward<T, Space::device>& op, std::int64_t at) {
  return op.x.data[at];
}
template <class T>
__device__ T taken(const AddRmsNormForward<T, Space::device>& op, std::int64_t at) {
  return op.sum.data[at];
}

__device__ __forceinline__ float inverse_rms(float square_sum, float share, float epsilon) {
  return rsqrtf(fmaf(square_sum, share, epsilon));
}

/// Rows rows a block, one pack of each a thread.
template <class T, int Threads, int Rows, class Op>
__global__ void __launch_bounds__(Threads) forward_kernel(const Op op, const float share) {
  constexpr int kWidth = kPack<T>;
  const std::int64_t tokens = op.x.shape[0], hidden = op.x.shape[1];
  const std::int64_t first = std::int64_t{blockIdx.x} * Rows, c = std::int64_t{threadIdx.x} * kWidth;
  const bool has_columns = c < hidden;
  const auto has = [&](int r) { return has_columns && first + r < tokens; };
  const auto place = [&](int r) { return (first + r) * hidden + c; };

  // Load
  decltype(input_of(op)) inputs[Rows];
  Chunk<T, kWidth> gain;
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    if (has(r)) inputs[r].load(op, place(r));
  }
  if (has_columns) gain = load_chunk<kWidth>(op.gain.data + c);

  // Reduce
  Chunk<T, kWidth> x[Rows];
  float squares[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    if (has(r)) x[r] = inputs[r].take(op, place(r));
    squares[r] = 0;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares[r] = fmaf(to_float(x[r][i]), to_float(x[r][i]), squares[r]);
  }
  block_sums<Threads>(squares, 0);

  // Store
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    if (!has(r)) continue;
    const float inv_rms = inverse_rms(squares[r], share, op.epsilon);
    if (threadIdx.x == 0) op.inv_rms(first + r) = inv_rms;
    float y[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) y[i] = to_float(x[r][i]) * inv_rms;
    store_chunk<kWidth>(op.y.data + place(r), product(rounded<T>(y), gain));
  }
}

template <class T, class Op>
__global__ void __launch_bounds__(kWideThreads) wide_forward_kernel(const Op op, const float share) {
  const std::int64_t t = blockIdx.x, hidden = op.x.shape[1];
  float square[1] = {0};
  for (std::int64_t c = threadIdx.x; c < hidden; c += kWideThreads) {
    const float x = to_float(take_one(op, t * hidden + c));
    square[0] = fmaf(x, x, square[0]);
  }
  block_sums<kWideThreads>(square, 0);
  const float inv_rms = inverse_rms(square[0], share, op.epsilon);
  if (threadIdx.x == 0) op.inv_rms(t) = inv_rms;
  for (std::int64_t c = threadIdx.x; c < hidden; c += kWideThreads) {
    const T normalised = from_float<T>(to_float(taken(op, t * hidden + c)) * inv_rms);
    op.y(t, c) = from_float<T>(to_float(normalised) * to_float(op.gain(c)));
  }
}

// ---- Backward

/// A block has a run of rows. It writes their dx and, where partials are there, its row of them: [blocks,
/// hidden].
__device__ __forceinline__ Range rows_of_block(std::int64_t tokens) {
  return balanced_part(tokens, gridDim.x, blockIdx.x);
}

template <class T, int Threads, int Rows>
__global__ void __launch_bounds__(Threads, resident_blocks(Threads))
    backward_kernel(const RmsNormBackward<T, Space::device> op, const float share, float* const partials) {
  constexpr int kWidth = kPack<T>;
  const std::int64_t hidden = op.x.shape[1], c = std::int64_t{threadIdx.x} * kWidth;
  const Range rows = rows_of_block(op.x.shape[0]);
  const bool has_columns = c < hidden, adds = op.add.data != nullptr;
  Chunk<T, kWidth> gain;
  if (has_columns) gain = load_chunk<kWidth>(op.gain.data + c);
  float dgain[kWidth] = {};
  int turn = 0;
  for (std::int64_t first = rows.begin; first < rows.end; first += Rows, turn ^= 1) {
    const auto has = [&](int r) { return has_columns && first + r < rows.end; };
    const auto place = [&](int r) { return (first + r) * hidden + c; };

    // Load
    Chunk<T, kWidth> dy[Rows], x[Rows], add[Rows];
    float inv_rms[Rows];
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      inv_rms[r] = has(r) ? op.inv_rms(first + r) : 0;
      if (!has(r)) continue;
      dy[r] = load_chunk<kWidth>(op.dy.data + place(r));
      x[r] = load_chunk<kWidth>(op.x.data + place(r));
      if (adds) add[r] = load_chunk<kWidth>(op.add.data + place(r));
    }

    // Reduce
    float projection[Rows];
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      projection[r] = 0;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float product = to_float(dy[r][i]) * to_float(x[r][i]);
        projection[r] = fmaf(product, to_float(gain[i]), projection[r]);
        dgain[i] = fmaf(product, inv_rms[r], dgain[i]);
      }
    }
    block_sums<Threads>(projection, turn);

    // Store
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      if (!has(r)) continue;
      const float shrink = projection[r] * share * inv_rms[r] * inv_rms[r];
      float dx[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float g = to_float(dy[r][i]) * to_float(gain[i]) - to_float(x[r][i]) * shrink;
        dx[i] = inv_rms[r] * g + to_float(add[r][i]);
      }
      store_chunk<kWidth>(op.dx.data + place(r), rounded<T>(dx));
    }
  }
  if (partials != nullptr && has_columns) store_floats(partials + blockIdx.x * hidden + c, dgain);
}

/// A thread has the same columns of every row, and adds to its own places of partials, which are zeros at
/// first.
template <class T>
__global__ void __launch_bounds__(kWideThreads)
    wide_backward_kernel(const RmsNormBackward<T, Space::device> op, const float share,
                         float* const partials) {
  const std::int64_t hidden = op.x.shape[1];
  const Range rows = rows_of_block(op.x.shape[0]);
  int turn = 0;
  for (std::int64_t t = rows.begin; t < rows.end; ++t, turn ^= 1) {
    const float inv_rms = op.inv_rms(t);
    float projection[1] = {0};
    for (std::int64_t c = threadIdx.x; c < hidden; c += kWideThreads) {
      const float product = to_float(op.dy(t, c)) * to_float(op.x(t, c));
      projection[0] = fmaf(product, to_float(op.gain(c)), projection[0]);
      if (partials != nullptr) partials[blockIdx.x * hidden + c] += product * inv_rms;
    }
    block_sums<kWideThreads>(projection, turn);
    const float shrink = projection[0] * share * inv_rms * inv_rms;
    for (std::int64_t c = threadIdx.x; c < hidden; c += kWideThreads) {
      const float g = to_float(op.dy(t, c)) * to_float(op.gain(c)) - to_float(op.x(t, c)) * shrink;
      const float add = op.add.data == nullptr ? 0 : to_float(op.add(t, c));
      op.dx(t, c) = from_float<T>(inv_rms * g + add);
    }
  }
}

// ---- Launches

/// Calls use(Threads) with the smallest block that covers a row by packs, or returns false.
template <class T, class Use>
bool with_threads(std::int64_t hidden, const Use& use) {
  const std::int64_t packs = hidden / kPack<T>;
  if (packs <= 128) return use(std::integral_constant<int, 128>()), true;
  if (packs <= 256) return use(std::integral_constant<int, 256>()), true;
  if (packs <= 512) return use(std::integral_constant<int, 512>()), true;
  if (packs <= 1024) return use(std::integral_constant<int, 1024>()), true;
  return false;
}

template <class T, class... Pointer>
bool has_packs(std::int64_t hidden, const Pointer*... pointer) {
  return hidden % kPack<T> == 0 && (is_aligned(pointer) && ...);
}

template <class T, class Op>
void forward(const Op& op, bool packed, Queue<Space::device> queue) {
  const auto [tokens, hidden] = op.x.shape;
  if (op.x.size() == 0) return;
  const float share = share_of_one(hidden);
  const bool done = packed && with_threads<T>(hidden, [&](auto threads) {
                      constexpr int kThreads = decltype(threads)::value, kRows = kThreads <= 512 ? 4 : 2;
                      forward_kernel<T, kThreads, kRows>
                          <<<unsigned(divide_up(tokens, kRows)), kThreads, 0, queue.stream>>>(op, share);
                    });
  if (!done) wide_forward_kernel<T><<<unsigned(tokens), kWideThreads, 0, queue.stream>>>(op, share);
  check(cudaGetLastError());
}

/// `launch(blocks, partials)` with as many blocks of `threads` threads as there is room for, then the sum of
/// partials.
template <class T, class G, class Launch>
void backward(const RmsNormBackward<T, Space::device, G>& op, int threads, Queue<Space::device> queue,
              const Launch& launch) {
  const auto [tokens, hidden] = op.x.shape;
  const std::int64_t room = std::int64_t{queue.device->multiprocessors()} * resident_blocks(threads);
  const std::int64_t blocks = hidden == 0 ? 0 : std::min(tokens, room);
  float* partials = nullptr;
  if (!op.dgain.empty()) {
    partials = static_cast<float*>(queue.device->scratch(blocks * hidden * std::int64_t(sizeof(float))));
  }
  if (blocks > 0) launch(unsigned(blocks), partials);
  check(cudaGetLastError());
  if (op.dgain.empty()) return;
  sum_partials<G>({partials, {blocks, hidden}}, {op.dgain.data, nullptr, hidden, op.into}, queue);
}

}  // namespace

template <class T>
void rmsnorm_forward(const RmsNormForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  forward<T>(op, has_packs<T>(op.x.shape[1], op.x.data, op.gain.data, op.y.data), queue);
}

template <class T>
void add_rmsnorm_forward(const AddRmsNormForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const bool packed =
      has_packs<T>(op.x.shape[1], op.x.data, op.delta.data, op.gain.data, op.sum.data, op.y.data);
  forward<T>(op, packed, queue);
}

template <class T, class G>
void rmsnorm_backward(const RmsNormBackward<T, Space::device, G>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t hidden = op.x.shape[1];
  const float share = share_of_one(hidden);
  const RmsNormBackward<T, Space::device> rows{
      .dy = op.dy,
      .x = op.x,
      .gain = op.gain,
      .inv_rms = op.inv_rms,
      .add = op.add.empty() ? View<const T, 2, Space::device>() : op.add,
      .dx = op.dx,
      .dgain = {}};
  const bool packed = has_packs<T>(hidden, op.dy.data, op.x.data, op.gain.data, rows.add.data, op.dx.data);
  const bool done =
      packed && with_threads<T>(hidden, [&](auto threads) {
        constexpr int kThreads = decltype(threads)::value;
        backward(op, kThreads, queue, [&](unsigned blocks, float* partials) {
          backward_kernel<T, kThreads, 2><<<blocks, kThreads, 0, queue.stream>>>(rows, share, partials);
        });
      });
  if (done) return;
  backward(op, kWideThreads, queue, [&](unsigned blocks, float* partials) {
    const std::size_t bytes = std::size_t(blocks * hidden) * sizeof(float);
    if (partials != nullptr) check(cudaMemsetAsync(partials, 0, bytes, queue.stream));
    wide_backward_kernel<<<blocks, kWideThreads, 0, queue.stream>>>(rows, share, partials);
  });
}

template void rmsnorm_forward(const RmsNormForward<float, Space::device>&, Queue<Space::device>);
template void rmsnorm_forward(const RmsNormForward<bf16, Space::device>&, Queue<Space::device>);
template void add_rmsnorm_forward(const AddRmsNormForward<float, Space::device>&, Queue<Space::device>);
template void add_rmsnorm_forward(const AddRmsNormForward<bf16, Space::device>&, Queue<Space::device>);
template void rmsnorm_backward(const RmsNormBackward<float, Space::device>&, Queue<Space::device>);
template void rmsnorm_backward(const RmsNormBackward<bf16, Space::device>&, Queue<Space::device>);
template void rmsnorm_backward(const RmsNormBackward<bf16, Space::device, bf16>&, Queue<Space::device>);

}  // namespace moebius::kernels

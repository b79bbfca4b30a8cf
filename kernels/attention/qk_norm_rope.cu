#include <algorithm>

#include "kernels/attention/qk_norm_rope.h"
#include "kernels/device/chunk.cuh"
#include "kernels/device/column_sums.cuh"
#include "kernels/device/device.h"

/// Heads of 8, 16 or 32 packs of 16 bytes: a group of so many lanes has a head, one pack a lane, and turns up
/// to kHeads heads of a token by one load of its row of the tables. Other heads: a warp each, one number at a
/// time.
namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 4;
constexpr int kResidentBlocks = 2;  // of a multiprocessor, in backward

/// The heads of a token in parts of up to kHeads, those of q first; no part has heads of both.
struct Parts {
  int heads, kv_heads;

  __host__ __device__ int of_q() const { return (heads + kHeads - 1) / kHeads; }
  __host__ __device__ int count() const { return of_q() + (kv_heads + kHeads - 1) / kHeads; }
};

struct Part {
  bool is_query;
  int first, end;  // heads of the token

  __device__ Part(const Parts& parts, int index) : is_query(index < parts.of_q()) {
    const int before = is_query ? 0 : parts.heads;
    first = before + (is_query ? index : index - parts.of_q()) * kHeads;
    end = min(first + kHeads, before + (is_query ? parts.heads : parts.kv_heads));
  }
};

template <int Lanes>
__device__ __forceinline__ float group_sum(float value) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

/// What a lane needs to turn its pack: y = own * cosine + other * sine, other being what lane `partner` has.
template <class T, int Lanes>
struct Turn {
  static constexpr int kWidth = kPack<T>;
  float cosine[kWidth], sine[kWidth];
  int partner;
  bool turns;

  /// half is a multiple of kWidth. `sign` is that of the sine in the lower half.
  template <class Op>
  __device__ __forceinline__ Turn(const Op& op, std::int64_t token, float sign) {
    const int lane = int(threadIdx.x) % Lanes, half = int(op.cosine.shape[1]), half_lanes = half / kWidth;
    const bool is_low = lane < half_lanes;
    turns = lane < 2 * half_lanes;
    partner = turns ? (is_low ? lane + half_lanes : lane - half_lanes) : lane;
    if (!turns) return;
    const int column = (is_low ? lane : lane - half_lanes) * kWidth;
    const std::int64_t at = std::int64_t{op.positions(token)} * half + column;
    load_floats(op.cosine.data + at, cosine);
    load_floats(op.sine.data + at, sine);
    if (!is_low) sign = -sign;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sine[i] *= sign;
  }

  __device__ __forceinline__ Chunk<T, kWidth> operator()(const Chunk<T, kWidth>& own) const {
    const auto other = shuffled<Lanes>(own, partner);
    if (!turns) return own;
    float y[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) y[i] = to_float(own[i]) * cosine[i] + to_float(other[i]) * sine[i];
    return rounded<T>(y);
  }
};

// ---- Forward

template <class T, int Lanes>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const QkNormRopeForward<T, Space::device> op, const Parts parts) {
  constexpr int kWidth = kPack<T>, kHeadDim = Lanes * kWidth;
  const unsigned group = (blockIdx.x * kThreads + threadIdx.x) / Lanes, count = unsigned(parts.count());
  const bool has_token = group / count < op.x.rows;
  const std::int64_t t = has_token ? group / count : 0;
  const Part part(parts, int(group % count));
  const std::int64_t column = std::int64_t{threadIdx.x % Lanes} * kWidth;
  const bool norms = op.q_gain.data != nullptr;
  const int heads = has_token ? part.end - part.first : 0;
  const T* const x = op.x.row(t) + part.first * kHeadDim + column;
  T* const y = head_of(op.q, op.k, t, part.first, kHeadDim) + column;
  float* const inv_rms = norms ? &op.inv_rms(t, part.first) : nullptr;

  // Load
  Chunk<T, kWidth> head[kHeads], gain;
#pragma unroll
  for (int u = 0; u < kHeads; ++u) {
    if (u < heads) head[u] = load_chunk<kWidth>(x + u * kHeadDim);
  }
  if (norms) gain = load_chunk<kWidth>((part.is_query ? op.q_gain : op.k_gain).data + column);
  const Turn<T, Lanes> turn(op, t, -1.0f);

  // Norm, turn, store
#pragma unroll
  for (int u = 0; u < kHeads; ++u) {
    if (norms) {
      float n[kWidth], square = 0;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        n[i] = to_float(head[u][i]);
        square = fmaf(n[i], n[i], square);
      }
      const float scale = rsqrtf(fmaf(group_sum<Lanes>(square), 1.0f / kHeadDim, op.epsilon));
#pragma unroll
      for (int i = 0; i < kWidth; ++i) n[i] *= scale;
      head[u] = product(rounded<T>(n), gain);
      if (u < heads && column == 0) inv_rms[u] = scale;
    }
    const auto turned = turn(head[u]);
    if (u < heads) store_chunk<kWidth>(y + u * kHeadDim, turned);
  }
}

// ---- Backward

/// dgains: of q, then of k; [2, head_dim]. Groups add in order.
template <int Lanes, int Width>
__device__ __forceinline__ void store_block_sums(const float (&dgain)[Width], const Parts& parts,
                                                 float* dgains) {
  constexpr int kHeadDim = Lanes * Width, kGroups = kThreads / Lanes;
  __shared__ float sums[kGroups][kHeadDim];
#pragma unroll
  for (int i = 0; i < Width; ++i) sums[threadIdx.x / Lanes][threadIdx.x % Lanes * Width + i] = dgain[i];
  __syncthreads();
  const unsigned count = unsigned(parts.count());
  for (int c = int(threadIdx.x); c < 2 * kHeadDim; c += kThreads) {
    const bool of_query = c < kHeadDim;
    float sum = 0;
    for (int g = 0; g < kGroups; ++g) {
      const unsigned part = (blockIdx.x * kGroups + g) % count;
      if ((int(part) < parts.of_q()) == of_query) sum += sums[g][c % kHeadDim];
    }
    dgains[c] = sum;
  }
}

/// A group has the same part of every `streams`-th token, so that its sums are all of q or all of k.
/// partials: one [2, head_dim] a block, or null.
template <class T, int Lanes>
__global__ void __launch_bounds__(kThreads, kResidentBlocks)
    backward_kernel(const QkNormRopeBackward<T, Space::device> op, const Parts parts, float* const partials) {
  constexpr int kWidth = kPack<T>, kHeadDim = Lanes * kWidth;
  const unsigned group = (blockIdx.x * kThreads + threadIdx.x) / Lanes, count = unsigned(parts.count());
  const unsigned streams = gridDim.x * (kThreads / Lanes) / count;
  const bool has_stream = group / count < streams;  // some groups are left over
  const Part part(parts, int(group % count));
  const std::int64_t column = std::int64_t{threadIdx.x % Lanes} * kWidth;
  const bool norms = op.q_gain.data != nullptr;
  Chunk<T, kWidth> gain;
  if (norms) gain = load_chunk<kWidth>((part.is_query ? op.q_gain : op.k_gain).data + column);
  float dgain[kWidth] = {};

  // As often for every lane of a warp: they exchange numbers.
  for (std::int64_t begin = 0; begin < op.dx.rows; begin += streams) {
    const bool has_token = has_stream && begin + group / count < op.dx.rows;
    const std::int64_t t = has_token ? begin + group / count : 0;
    const int heads = has_token ? part.end - part.first : 0;
    const std::int64_t at = part.first * kHeadDim + column;
    const T* const dy_at = head_of(op.dq, op.dk, t, part.first, kHeadDim) + column;
    const T* const x_at = op.x.row(t) + at;
    T* const dx_at = op.dx.row(t) + at;
    const float* const inv_rms_at = op.inv_rms.data + t * op.inv_rms.shape[1] + part.first;

    // Load
    Chunk<T, kWidth> dy[kHeads] = {}, x[kHeads] = {};  // zeros add nothing to dgain
    float inv_rms[kHeads] = {};
#pragma unroll
    for (int u = 0; u < kHeads; ++u) {
      if (u < heads) dy[u] = load_chunk<kWidth>(dy_at + u * kHeadDim);
    }
#pragma unroll
    for (int u = 0; u < kHeads; ++u) {
      if (u >= heads || !norms) continue;
      x[u] = load_chunk<kWidth>(x_at + u * kHeadDim);
      inv_rms[u] = inv_rms_at[u];
    }
    const Turn<T, Lanes> turn(op, t, 1.0f);

    // Turn back, norm, store
#pragma unroll
    for (int u = 0; u < kHeads; ++u) {
      auto dx = turn(dy[u]);
      if (norms) {
        float g[kWidth], sum = 0;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float product = to_float(dx[i]) * to_float(x[u][i]);
          sum = fmaf(product, to_float(gain[i]), sum);
          dgain[i] = fmaf(product, inv_rms[u], dgain[i]);
        }
        const float shrink = group_sum<Lanes>(sum) * (1.0f / kHeadDim) * inv_rms[u] * inv_rms[u];
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          g[i] = inv_rms[u] * (to_float(dx[i]) * to_float(gain[i]) - to_float(x[u][i]) * shrink);
        }
        dx = rounded<T>(g);
      }
      if (u < heads) store_chunk<kWidth>(dx_at + u * kHeadDim, dx);
    }
  }
  if (partials == nullptr) return;
  store_block_sums<Lanes>(dgain, parts, partials + std::int64_t{blockIdx.x} * (2 * kHeadDim));
}

// ---- Heads of any size

/// Calls use(i, i + half) for every pair of a head that turns and use(i, i) for every number that does not; a
/// lane gets the same ones of every head.
template <class Use>
__device__ __forceinline__ void each_pair(std::int64_t head_dim, std::int64_t half, const Use& use) {
  const std::int64_t lane = threadIdx.x % 32;
  for (std::int64_t i = lane; i < half; i += 32) use(i, i + half);
  for (std::int64_t i = 2 * half + lane; i < head_dim; i += 32) use(i, i);
}

/// Where a warp's token and head lie.
template <class Op>
struct Place {
  std::int64_t head_dim, half, t, h;
  const float *cosine, *sine;

  __device__ Place(const Op& op, std::int64_t columns, std::int64_t item) : half(op.cosine.shape[1]) {
    const std::int64_t heads = op.heads + op.kv_heads;
    head_dim = columns / heads, t = item / heads, h = item % heads;
    cosine = op.cosine.data + op.positions(t) * half, sine = op.sine.data + op.positions(t) * half;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    wide_forward_kernel(const QkNormRopeForward<T, Space::device> op) {
  const std::int64_t item = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (item >= op.x.rows * (op.heads + op.kv_heads)) return;
  const Place<decltype(op)> at(op, op.x.columns, item);
  const T* const x = op.x.row(at.t) + at.h * at.head_dim;
  T* const y = head_of(op.q, op.k, at.t, at.h, at.head_dim);
  const T* const gain = (at.h < op.heads ? op.q_gain : op.k_gain).data;
  float square = 0, inv_rms = 1;
  if (gain != nullptr) {
    for (std::int64_t i = threadIdx.x % 32; i < at.head_dim; i += 32)
      square += to_float(x[i]) * to_float(x[i]);
    inv_rms = rsqrtf(warp_sum(square) / float(at.head_dim) + op.epsilon);
    if (threadIdx.x % 32 == 0) op.inv_rms(at.t, at.h) = inv_rms;
  }
  const auto normed = [&](std::int64_t i) {
    if (gain == nullptr) return to_float(x[i]);
    return to_float(from_float<T>(to_float(from_float<T>(to_float(x[i]) * inv_rms)) * to_float(gain[i])));
  };
  each_pair(at.head_dim, at.half, [&](std::int64_t i, std::int64_t j) {
    const float low = normed(i), high = normed(j);
    y[i] = from_float<T>(i == j ? low : low * at.cosine[i] - high * at.sine[i]);
    if (i != j) y[j] = from_float<T>(high * at.cosine[i] + low * at.sine[i]);
  });
}

/// partials: one [2, head_dim] a warp, zeros at first, or null.
template <class T>
__global__ void __launch_bounds__(kThreads)
    wide_backward_kernel(const QkNormRopeBackward<T, Space::device> op, float* const partials) {
  const std::int64_t warp = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  const std::int64_t warps = std::int64_t{gridDim.x} * (kThreads / 32);
  for (std::int64_t item = warp; item < op.dx.rows * (op.heads + op.kv_heads); item += warps) {
    const Place<decltype(op)> at(op, op.dx.columns, item);
    const std::int64_t head = at.h * at.head_dim;
    const T* const dy = head_of(op.dq, op.dk, at.t, at.h, at.head_dim);
    T* const dx = op.dx.row(at.t) + head;
    const bool is_query = at.h < op.heads;
    const T* const gain = (is_query ? op.q_gain : op.k_gain).data;
    const T* const x = gain == nullptr ? nullptr : op.x.row(at.t) + head;
    const float inv_rms = gain == nullptr ? 1 : op.inv_rms(at.t, at.h);
    const auto low = [&](std::int64_t i, std::int64_t j) {
      const float turned = to_float(dy[i]) * at.cosine[i] + to_float(dy[j]) * at.sine[i];
      return to_float(from_float<T>(turned));
    };
    const auto high = [&](std::int64_t i, std::int64_t j) {
      const float turned = to_float(dy[j]) * at.cosine[i] - to_float(dy[i]) * at.sine[i];
      return to_float(from_float<T>(turned));
    };
    float shrink = 0;
    if (gain != nullptr) {
      float* const dgain =
          partials == nullptr ? nullptr : partials + (2 * warp + (is_query ? 0 : 1)) * at.head_dim;
      float sum = 0;
      const auto take_in = [&](std::int64_t i, float g) {
        sum += g * to_float(gain[i]) * to_float(x[i]);
        if (dgain != nullptr) dgain[i] += g * to_float(x[i]) * inv_rms;
      };
      each_pair(at.head_dim, at.half, [&](std::int64_t i, std::int64_t j) {
        take_in(i, i == j ? to_float(dy[i]) : low(i, j));
        if (i != j) take_in(j, high(i, j));
      });
      shrink = warp_sum(sum) / float(at.head_dim) * inv_rms * inv_rms;
    }
    const auto give = [&](std::int64_t i, float g) {
      if (gain != nullptr) g = inv_rms * (g * to_float(gain[i]) - to_float(x[i]) * shrink);
      dx[i] = from_float<T>(g);
    };
    each_pair(at.head_dim, at.half, [&](std::int64_t i, std::int64_t j) {
      const float of_low = i == j ? to_float(dy[i]) : low(i, j), of_high = i == j ? 0 : high(i, j);
      give(i, of_low);  // after both are read: dq and dk may be its columns
      if (i != j) give(j, of_high);
    });
  }
}

// ---- Launches

/// Calls use(lanes) with the size of the groups that have a head each, or returns false: no head of packs.
template <class T, class Use>
bool with_lanes(std::int64_t head_dim, const Use& use) {
  if (head_dim == 8 * kPack<T>) return use(std::integral_constant<int, 8>()), true;
  if (head_dim == 16 * kPack<T>) return use(std::integral_constant<int, 16>()), true;
  if (head_dim == 32 * kPack<T>) return use(std::integral_constant<int, 32>()), true;
  return false;
}

template <class T, class S>
bool has_packs(const Matrix<T, Space::device>& a, const Matrix<S, Space::device>& b) {
  return is_aligned(a.data) && is_aligned(b.data) && a.stride % kPack<S> == 0 && b.stride % kPack<S> == 0;
}

template <class T, class Op>
bool tables_have_packs(const Op& op) {
  return op.cosine.shape[1] % kPack<T> == 0 && is_aligned(op.cosine.data) && is_aligned(op.sine.data) &&
         is_aligned(op.q_gain.data) && is_aligned(op.k_gain.data);
}

/// `launch(blocks, partials)`, then the sum of its partials, `rows_a_block` a block.
template <class T, class G, class Launch>
void backward(const QkNormRopeBackward<T, Space::device, G>& op, std::int64_t blocks,
              std::int64_t rows_a_block, Queue<Space::device> queue, const Launch& launch) {
  const std::int64_t columns = 2 * op.q_gain.shape[0], rows = blocks * rows_a_block;
  const bool wants_dgains = columns > 0 && !(op.q_dgain.empty() && op.k_dgain.empty());
  float* partials = nullptr;
  if (wants_dgains) {
    partials = static_cast<float*>(queue.device->scratch(rows * columns * std::int64_t(sizeof(float))));
  }
  if (blocks > 0) launch(unsigned(blocks), partials);
  check(cudaGetLastError());
  if (!wants_dgains) return;
  const ColumnSums<G> sums{.first = op.q_dgain.empty() ? nullptr : op.q_dgain.data,
                           .second = op.k_dgain.empty() ? nullptr : op.k_dgain.data,
                           .split = columns / 2,
                           .into = op.into};
  sum_partials<G>({partials, {rows, columns}}, sums, queue);
}

}  // namespace

template <class T>
void qk_norm_rope_forward(const QkNormRopeForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t all_heads = op.heads + op.kv_heads;
  if (op.x.rows == 0 || op.x.columns == 0) return;
  const Parts parts{int(op.heads), int(op.kv_heads)};
  const bool packed = has_packs(op.x, op.q) && has_packs(op.x, op.k) && tables_have_packs<T>(op);
  const bool done = packed && with_lanes<T>(op.x.columns / all_heads, [&](auto lanes) {
                      constexpr int kLanes = decltype(lanes)::value;
                      const std::int64_t blocks = divide_up(op.x.rows * parts.count(), kThreads / kLanes);
                      forward_kernel<T, kLanes><<<unsigned(blocks), kThreads, 0, queue.stream>>>(op, parts);
                    });
  if (!done) {
    const std::int64_t blocks = divide_up(op.x.rows * all_heads, kThreads / 32);
    wide_forward_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op);
  }
  check(cudaGetLastError());
}

template <class T, class G>
void qk_norm_rope_backward(const QkNormRopeBackward<T, Space::device, G>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t all_heads = op.heads + op.kv_heads, tokens = op.dx.columns == 0 ? 0 : op.dx.rows;
  const QkNormRopeBackward<T, Space::device> heads{.dq = op.dq,
                                                   .dk = op.dk,
                                                   .x = op.x,
                                                   .q_gain = op.q_gain,
                                                   .k_gain = op.k_gain,
                                                   .cosine = op.cosine,
                                                   .sine = op.sine,
                                                   .positions = op.positions,
                                                   .inv_rms = op.inv_rms,
                                                   .dx = op.dx,
                                                   .q_dgain = {},
                                                   .k_dgain = {},
                                                   .heads = op.heads,
                                                   .kv_heads = op.kv_heads};
  const Parts parts{int(op.heads), int(op.kv_heads)};
  const std::int64_t room = std::int64_t{queue.device->multiprocessors()} * kResidentBlocks;
  const bool x_has_packs = op.q_gain.empty() || has_packs(op.x, op.dx);
  const bool packed = all_heads > 0 && x_has_packs && has_packs(op.dq, op.dx) && has_packs(op.dk, op.dx) &&
                      tables_have_packs<T>(op);
  const bool done =
      packed && with_lanes<T>(op.dx.columns / all_heads, [&](auto lanes) {
        constexpr int kLanes = decltype(lanes)::value, kGroups = kThreads / kLanes;
        const std::int64_t most =
            std::max(room, divide_up(parts.count(), kGroups));  // every part needs a group
        const std::int64_t blocks = std::min(divide_up(tokens * parts.count(), kGroups), most);
        backward(op, blocks, 1, queue, [&](unsigned count, float* partials) {
          backward_kernel<T, kLanes><<<count, kThreads, 0, queue.stream>>>(heads, parts, partials);
        });
      });
  if (done) return;
  const std::int64_t blocks = std::min(divide_up(tokens * all_heads, kThreads / 32), room);
  backward(op, blocks, kThreads / 32, queue, [&](unsigned count, float* partials) {
    const std::size_t bytes = count * (kThreads / 32) * std::size_t(2 * op.q_gain.shape[0]) * sizeof(float);
    if (partials != nullptr) check(cudaMemsetAsync(partials, 0, bytes, queue.stream));
    wide_backward_kernel<<<count, kThreads, 0, queue.stream>>>(heads, partials);
  });
}

template void qk_norm_rope_forward(const QkNormRopeForward<float, Space::device>&, Queue<Space::device>);
template void qk_norm_rope_forward(const QkNormRopeForward<bf16, Space::device>&, Queue<Space::device>);
template void qk_norm_rope_backward(const QkNormRopeBackward<float, Space::device>&, Queue<Space::device>);
template void qk_norm_rope_backward(const QkNormRopeBackward<bf16, Space::device>&, Queue<Space::device>);
template void qk_norm_rope_backward(const QkNormRopeBackward<bf16, Space::device, bf16>&,
                                    Queue<Space::device>);

}  // namespace moebius::kernels

#include "base/math.h"
#include "kernels/dense/swiglu.h"
#include "kernels/device/check.h"
#include "kernels/numeric/exp.cuh"
#include "kernels/numeric/raw.cuh"

namespace moebius::kernels {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32;  // a warp a row
constexpr int kBatch = 3;  // loads of each input in flight: all of 768 columns in bf16

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 4) forward_kernel(SwigluForward<T, Space::device> op) {
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, width = op.y.shape[1];
  if (r >= op.y.shape[0]) return;
  const T *gate = &op.gate_up(r, 0), *up = gate + width;
  T* y = &op.y(r, 0);
  const float weight = op.weights.empty() ? 1.0f : op.weights(op.weight_of(r));
  constexpr int kStride = 32 * N;
  for (std::int64_t begin = threadIdx.x % 32 * N; begin < width; begin += kBatch * kStride) {
    Raw<T, N> gates[kBatch], ups[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t c = begin + b * kStride;
      gates[b] = load_raw_if<N>(c < width, gate + c);
      ups[b] = load_raw_if<N>(c < width, up + c);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t c = begin + b * kStride;
      float values[N];
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float g = gates[b].value(i);
        values[i] = to_float(from_float<T>(g * sigmoid_approx(g))) * ups[b].value(i) * weight;
      }
      if (c < width) store_raw(y + c, to_raw<T>(values));
    }
  }
}

/// Gradients of the N columns that begin at column c, see swiglu.cpp; returns their part of the weight's.
template <class T, int N>
__device__ __forceinline__ float backward_columns(const Raw<T, N>& dys, const Raw<T, N>& gates,
                                                  const Raw<T, N>& ups, float weight, float (&dgates)[N],
                                                  float (&dups)[N]) {
  float dweight = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float g = gates.value(i), u = ups.value(i), d = dys.value(i);
    const float s = sigmoid_approx(g), silu = g * s;
    dweight += d * silu * u;
    dgates[i] = d * weight * u * s * (1 + g * (1 - s));
    dups[i] = d * weight * silu;
  }
  return dweight;
}

/// Where dgate_up is gate_up, a thread has read what it overwrites.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) backward_kernel(SwigluBackward<T, Space::device> op) {
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, width = op.dy.shape[1];
  if (r >= op.dy.shape[0]) return;
  const T *dy = &op.dy(r, 0), *gate = &op.gate_up(r, 0), *up = gate + width;
  T *dgate = &op.dgate_up(r, 0), *dup = dgate + width;
  const bool is_weighted = !op.weights.empty();
  const float weight = is_weighted ? op.weights(op.weight_of(r)) : 1.0f;
  float dweight = 0;
  constexpr int kStride = 32 * N;
  for (std::int64_t begin = threadIdx.x % 32 * N; begin < width; begin += kBatch * kStride) {
    Raw<T, N> dys[kBatch], gates[kBatch], ups[kBatch];  // zeros past the end add nothing to dweight
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t c = begin + b * kStride;
      dys[b] = load_raw_if<N>(c < width, dy + c);
      gates[b] = load_raw_if<N>(c < width, gate + c);
      ups[b] = load_raw_if<N>(c < width, up + c);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t c = begin + b * kStride;
      float dgates[N], dups[N];
      dweight += backward_columns(dys[b], gates[b], ups[b], weight, dgates, dups);
      if (c >= width) continue;
      store_raw(dgate + c, to_raw<T>(dgates));
      store_raw(dup + c, to_raw<T>(dups));
    }
  }
  if (!is_weighted) return;
  dweight = warp_sum(dweight);
  if (threadIdx.x % 32 == 0) op.dweights(op.weight_of(r)) = dweight;
}

}  // namespace

template <class T>
void swiglu_forward(const SwigluForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [rows, width] = op.y.shape;
  if (rows == 0 || width == 0) return;
  const unsigned blocks = unsigned(divide_up(rows, kWarps));
  if (is_packable<T>(width, op.gate_up.data, op.y.data)) {
    forward_kernel<T, kPack<T>><<<blocks, kThreads, 0, queue.stream>>>(op);
  } else {
    forward_kernel<T, 1><<<blocks, kThreads, 0, queue.stream>>>(op);
  }
  check(cudaGetLastError());
}

template <class T>
void swiglu_backward(const SwigluBackward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [rows, width] = op.dy.shape;
  if (rows == 0) return;
  const unsigned blocks = unsigned(divide_up(rows, kWarps));
  if (is_packable<T>(width, op.dy.data, op.gate_up.data, op.dgate_up.data)) {
    backward_kernel<T, kPack<T>><<<blocks, kThreads, 0, queue.stream>>>(op);
  } else {
    backward_kernel<T, 1><<<blocks, kThreads, 0, queue.stream>>>(op);
  }
  check(cudaGetLastError());
}

template void swiglu_forward(const SwigluForward<float, Space::device>&, Queue<Space::device>);
template void swiglu_forward(const SwigluForward<bf16, Space::device>&, Queue<Space::device>);
template void swiglu_backward(const SwigluBackward<float, Space::device>&, Queue<Space::device>);
template void swiglu_backward(const SwigluBackward<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels

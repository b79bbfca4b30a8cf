#include "kernels/device/runs.cuh"
#include "kernels/update/elementwise.h"

namespace moebius::kernels {
namespace {

constexpr int kUnroll = 4;  // packs in flight, 16 bytes of the widest type each

template <class T>
struct Fill : AlwaysWanted {
  T* y;
  T value;

  struct Nothing {};
  template <int N>
  __device__ __forceinline__ Nothing load(std::int64_t) const {
    return {};
  }
  template <int N>
  __device__ __forceinline__ void store(std::int64_t at, Nothing) const {
    T values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = value;
    store_chunk<N>(y + at, Chunk<T, N>::of(values));
  }
};

template <class T>
struct Scale : AlwaysWanted {
  T* y;
  float factor;

  template <int N>
  __device__ __forceinline__ Chunk<T, N> load(std::int64_t at) const {
    return load_chunk<N>(y + at);
  }
  template <int N>
  __device__ __forceinline__ void store(std::int64_t at, const Chunk<T, N>& chunk) const {
    float values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = to_float(chunk[i]) * factor;
    store_chunk<N>(y + at, rounded<T>(values));
  }
};

template <class T>
struct Sum : AlwaysWanted {
  const T *a, *b;
  T* y;
  float factor;

  template <int N>
  struct Terms {
    Chunk<T, N> a, b;
  };
  template <int N>
  __device__ __forceinline__ Terms<N> load(std::int64_t at) const {
    return {load_chunk<N>(a + at), load_chunk<N>(b + at)};
  }
  template <int N>
  __device__ __forceinline__ void store(std::int64_t at, const Terms<N>& terms) const {
    float values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = fmaf(factor, to_float(terms.b[i]), to_float(terms.a[i]));
    store_chunk<N>(y + at, rounded<T>(values));
  }
};

__device__ __forceinline__ float widened(std::int32_t value) {
  return float(value);
}
template <class T>
__device__ __forceinline__ float widened(T value) {
  return to_float(value);
}

template <class From, class To>
struct Conversion : AlwaysWanted {
  const From* x;
  To* y;

  template <int N>
  __device__ __forceinline__ Chunk<From, N> load(std::int64_t at) const {
    return load_chunk<N>(x + at);
  }
  template <int N>
  __device__ __forceinline__ void store(std::int64_t at, const Chunk<From, N>& chunk) const {
    float values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = widened(chunk[i]);
    store_chunk<N>(y + at, rounded<To>(values));
  }
};

}  // namespace

template <class T>
void fill(View<T, 1, Space::device> y, T value, Queue<Space::device> queue) {
  run<kPack<T>, kUnroll>(cut<kPack<T>>(y.shape[0], y.data), Fill<T>{{}, y.data, value}, queue);
}

template <class T>
void copy(View<const T, 1, Space::device> x, View<T, 1, Space::device> y, Queue<Space::device> queue) {
  expect_shape("copy.x", x, y.shape);
  const std::size_t bytes = std::size_t(y.size()) * sizeof(T);
  if (bytes == 0) return;
  check(cudaMemcpyAsync(y.data, x.data, bytes, cudaMemcpyDeviceToDevice, queue.stream));
}

template <class T>
void scale(View<T, 1, Space::device> y, float factor, Queue<Space::device> queue) {
  run<kPack<T>, kUnroll>(cut<kPack<T>>(y.shape[0], y.data), Scale<T>{{}, y.data, factor}, queue);
}

template <class T>
void add(const Add<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const Cut runs = cut<kPack<T>>(op.y.shape[0], op.a.data, op.b.data, op.y.data);
  run<kPack<T>, kUnroll>(runs, Sum<T>{{}, op.a.data, op.b.data, op.y.data, op.factor}, queue);
}

template <class From, class To>
void cast(const Cast<From, To, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  constexpr int kWidth = std::min(kPack<From>, kPack<To>);
  const Cut runs = cut<kWidth>(op.y.shape[0], op.x.data, op.y.data);
  run<kWidth, kUnroll>(runs, Conversion<From, To>{{}, op.x.data, op.y.data}, queue);
}

template void fill(View<float, 1, Space::device>, float, Queue<Space::device>);
template void fill(View<bf16, 1, Space::device>, bf16, Queue<Space::device>);
template void fill(View<std::int32_t, 1, Space::device>, std::int32_t, Queue<Space::device>);
template void copy(View<const float, 1, Space::device>, View<float, 1, Space::device>, Queue<Space::device>);
template void copy(View<const bf16, 1, Space::device>, View<bf16, 1, Space::device>, Queue<Space::device>);
template void copy(View<const std::int32_t, 1, Space::device>, View<std::int32_t, 1, Space::device>,
                   Queue<Space::device>);
template void scale(View<float, 1, Space::device>, float, Queue<Space::device>);
template void scale(View<bf16, 1, Space::device>, float, Queue<Space::device>);
template void add(const Add<float, Space::device>&, Queue<Space::device>);
template void add(const Add<bf16, Space::device>&, Queue<Space::device>);
template void cast(const Cast<float, bf16, Space::device>&, Queue<Space::device>);
template void cast(const Cast<bf16, float, Space::device>&, Queue<Space::device>);
template void cast(const Cast<std::int32_t, float, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels

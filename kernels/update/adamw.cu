#include <type_traits>

#include "kernels/device/runs.cuh"
#include "kernels/update/adamw.h"

namespace moebius::kernels {
namespace {

/// Where the fp32 value of a weight is kept: how N of them are read and written.
struct InMaster {
  template <class W, int N>
  using Bits = Chunk<float, N>;
};
struct InWeight {
  template <class W, int N>
  using Bits = Chunk<W, N>;
};
struct InRemainder {
  template <class W, int N>
  struct Bits {
    Chunk<W, N> high;
    Chunk<std::int16_t, N> low;
  };
};

/// As op.w, op.m, ... of AdamW, without extents.
template <class Kept, class W, class G, class M>
struct Step {
  W* w;
  const G* g;
  M *m, *v;
  float* master;
  std::int16_t* remainder;
  const float* gradient_scale;  // or null
  AdamWScalars scalars;

  template <int N>
  struct State {
    Chunk<G, N> g;
    Chunk<M, N> m, v;
    typename Kept::template Bits<W, N> w;
  };

  /// First of all, not beside the loads: they would be moved behind this branch.
  __device__ __forceinline__ bool wanted() const { return isfinite(scale()); }

  template <int N>
  __device__ __forceinline__ State<N> load(std::int64_t at) const {
    State<N> state{load_chunk<N>(g + at), load_chunk<N>(m + at), load_chunk<N>(v + at)};
    if constexpr (std::is_same_v<Kept, InMaster>) state.w = load_chunk<N>(master + at);
    if constexpr (std::is_same_v<Kept, InWeight>) state.w = load_chunk<N>(w + at);
    if constexpr (std::is_same_v<Kept, InRemainder>) {
      state.w.high = load_chunk<N>(w + at);
      state.w.low = load_chunk<N>(remainder + at);
    }
    return state;
  }

  template <int N>
  __device__ __forceinline__ void store(std::int64_t at, const State<N>& state) const {
    float first[N], second[N], value[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float gradient = __fmul_rn(to_float(state.g[i]), scale());
      value[i] = weight(state, i);
      first[i] = to_float(state.m[i]), second[i] = to_float(state.v[i]);
      step(gradient, first[i], second[i], value[i]);
    }
    store_chunk<N>(m + at, rounded<M>(first));
    store_chunk<N>(v + at, rounded<M>(second));
    keep<N>(at, value);
  }

 private:
  __device__ __forceinline__ float scale() const {
    return gradient_scale == nullptr ? 1 : *gradient_scale;
  }

  template <int N>
  __device__ __forceinline__ static float weight(const State<N>& state, int i) {
    if constexpr (std::is_same_v<Kept, InRemainder>) {
      const std::uint32_t high = std::uint32_t{std::bit_cast<std::uint16_t>(state.w.high[i])} << 16;
      return __uint_as_float(high + std::uint32_t(std::int32_t{state.w.low[i]}));
    } else {
      return to_float(state.w[i]);
    }
  }

  /// Every rounding is written out, so that all ways to keep a weight take the same step, bit for bit.
  __device__ __forceinline__ void step(float gradient, float& first, float& second, float& value) const {
    const AdamWScalars& s = scalars;
    first = __fmaf_rn(s.rest1, __fsub_rn(gradient, first), first);
    second = __fmaf_rn(__fmul_rn(s.rest2, gradient), gradient, __fmul_rn(second, s.beta2));
    const float root = __fmaf_rn(__fsqrt_rn(second), s.inverse_root, s.epsilon);
    value = __fmaf_rn(-s.step_size, __fdiv_rn(first, root), __fmul_rn(value, s.decay));
  }

  template <int N>
  __device__ __forceinline__ void keep(std::int64_t at, const float (&value)[N]) const {
    if constexpr (std::is_same_v<Kept, InRemainder>) {
      W high[N];
      std::int16_t low[N];
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const std::uint32_t bits = __float_as_uint(value[i]);
        high[i] = std::bit_cast<W>(std::uint16_t((bits + 0x8000u) >> 16));
        low[i] = std::int16_t(
            std::uint16_t(bits));  // bits - (high << 16) is in its range, so its lower half is all
      }
      store_chunk<N>(w + at, Chunk<W, N>::of(high));
      store_chunk<N>(remainder + at, Chunk<std::int16_t, N>::of(low));
    } else {
      if constexpr (std::is_same_v<Kept, InMaster>) store_chunk<N>(master + at, rounded<float>(value));
      store_chunk<N>(w + at, rounded<W>(value));
    }
  }
};

template <class Kept, class W, class G, class M>
void run_step(const AdamW<W, G, M, Space::device>& op, Queue<Space::device> queue) {
  // The widest type goes by 16 bytes; 8 numbers a thread in flight.
  constexpr bool kAllNarrow = sizeof(W) + sizeof(G) + sizeof(M) == 6 && !std::is_same_v<Kept, InMaster>;
  constexpr int kWidth = kAllNarrow ? 8 : 4, kUnroll = 8 / kWidth;
  const Cut runs = cut<kWidth>(op.w.shape[0], op.w.data, op.g.data, op.m.data, op.v.data,
                               op.master.empty() ? nullptr : op.master.data,
                               op.remainder.empty() ? nullptr : op.remainder.data);
  const Step<Kept, W, G, M> step{
      .w = op.w.data,
      .g = op.g.data,
      .m = op.m.data,
      .v = op.v.data,
      .master = op.master.data,
      .remainder = op.remainder.data,
      .gradient_scale = op.gradient_scale.empty() ? nullptr : op.gradient_scale.data,
      .scalars = adamw_scalars(op)};
  run<kWidth, kUnroll>(runs, step, queue);
}

}  // namespace

template <class W, class G, class M>
void adamw(const AdamW<W, G, M, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (!op.master.empty()) return run_step<InMaster>(op, queue);
  if constexpr (std::is_same_v<W, bf16>) {
    if (!op.remainder.empty()) return run_step<InRemainder>(op, queue);
  }
  run_step<InWeight>(op, queue);
}

template void adamw(const AdamW<float, float, float, Space::device>&, Queue<Space::device>);
template void adamw(const AdamW<bf16, float, float, Space::device>&, Queue<Space::device>);
template void adamw(const AdamW<bf16, float, bf16, Space::device>&, Queue<Space::device>);
template void adamw(const AdamW<bf16, bf16, float, Space::device>&, Queue<Space::device>);
template void adamw(const AdamW<bf16, bf16, bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels

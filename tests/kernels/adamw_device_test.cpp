#include <bit>
#include <limits>

#include "kernels/update/adamw.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;
using test::Tensor;

namespace {

/// Where the fp32 values of the weights are kept, see adamw.h.
enum class Kept : std::uint8_t { in_master, in_remainder, in_weight };

/// Numbers from aligned addresses: of the weights, and of everything else.
struct Offsets {
  std::int64_t weights = 0, others = 0;
};

template <class T>
void fill_narrowed(const Tensor<T, 1>& to, unsigned seed) {
  const Normal<float, 1> from(to.shape(), seed);
  for (std::int64_t i = 0; i < to.count(); ++i) to[i] = T(from[i]);
}

template <class W, class G, class M>
struct Host {
  Kept kept;
  Tensor<W, 1> w;
  Tensor<G, 1> g;
  Tensor<M, 1> m, v;
  Tensor<float, 1> master, scale;
  Tensor<std::int16_t, 1> remainder;

  Host(std::int64_t count, Kept how)
      : kept(how),
        w({count}),
        g({count}),
        m({count}),
        v({count}),
        master({count}),
        scale({1}, {0.5f}),
        remainder({count}) {
    fill_narrowed(w, 1), fill_narrowed(g, 2), fill_narrowed(m, 3);
    for (std::int64_t i = 0; i < count; ++i) {
      v[i] = M(i % 11 == 0 ? 0.0f : 0.1f + 0.01f * float(i % 50));
      master[i] = float(w[i]);
      if (i % 13 == 0) g[i] = G(0.0f), m[i] = M(0.0f);
    }
  }
  [[nodiscard]] AdamW<W, G, M, Space::host> op(std::int64_t step) const {
    AdamW<W, G, M, Space::host> op{.w = w.view(),
                                   .g = g.view(),
                                   .m = m.view(),
                                   .v = v.view(),
                                   .master = {},
                                   .remainder = {},
                                   .gradient_scale = scale.view(),
                                   .lr = 1e-2,
                                   .weight_decay = 0.1,
                                   .step = step};
    if (kept == Kept::in_master) op.master = master.view();
    if (kept == Kept::in_remainder) op.remainder = remainder.view();
    return op;
  }
};

template <class W, class G, class M>
struct OnDevice {
  Kept kept;
  Placed<W, 1> w;
  Placed<G, 1> g;
  Placed<M, 1> m, v;
  Placed<float, 1> master, scale;
  Placed<std::int16_t, 1> remainder;

  OnDevice(const Host<W, G, M>& host, Offsets offsets)
      : kept(host.kept),
        w(host.w, offsets.weights),
        g(host.g, offsets.others),
        m(host.m, offsets.others),
        v(host.v, offsets.others),
        master(host.master, offsets.others),
        scale(host.scale),
        remainder(host.remainder, offsets.others) {}
  [[nodiscard]] AdamW<W, G, M, Space::device> op(std::int64_t step) const {
    AdamW<W, G, M, Space::device> op{.w = w.view(),
                                     .g = g.view(),
                                     .m = m.view(),
                                     .v = v.view(),
                                     .master = {},
                                     .remainder = {},
                                     .gradient_scale = scale.view(),
                                     .lr = 1e-2,
                                     .weight_decay = 0.1,
                                     .step = step};
    if (kept == Kept::in_master) op.master = master.view();
    if (kept == Kept::in_remainder) op.remainder = remainder.view();
    return op;
  }
  /// The fp32 values, as bits.
  [[nodiscard]] std::vector<std::uint32_t> weights() const {
    if (kept == Kept::in_master) return master.bits();
    std::vector<std::uint32_t> bits = w.bits();
    if (sizeof(W) == 4) return bits;
    const auto low = remainder.values();
    for (std::size_t i = 0; i < bits.size(); ++i)
      bits[i] = (bits[i] << 16) + std::uint32_t(std::int32_t{low[i]});
    return bits;
  }
};

template <class T>
std::vector<float> floats(const Tensor<T, 1>& from) {
  std::vector<float> values;
  for (const T& value : from.values()) values.push_back(float(value));
  return values;
}

template <class W, class G, class M>
void check_step(Device& gpu, std::int64_t count, Kept kept, Offsets offsets) {
  CAPTURE(count, int(kept), offsets.weights, offsets.others, sizeof(W), sizeof(G), sizeof(M));
  const Host<W, G, M> host(count, kept);
  const OnDevice<W, G, M> device(host, offsets);
  test::make_ready(gpu);
  for (int step = 1; step <= 2; ++step) {
    adamw(host.op(step));
    adamw(device.op(step), gpu.queue());
  }
  CHECK(relative_error(device.w.template values<float>(), floats(host.w)) < kTolerance<W>);
  CHECK(relative_error(device.m.template values<float>(), floats(host.m)) < kTolerance<M>);
  CHECK(relative_error(device.v.template values<float>(), floats(host.v)) < kTolerance<M>);
  if (kept == Kept::in_master)
    CHECK(relative_error(device.master.values(), host.master.values()) < kTolerance<M>);
}

template <class W, class G, class M>
void check_types(Device& gpu) {
  for (const std::int64_t count : {0, 1, 5, 8, 37, 5000, 20011}) {
    for (const Offsets offsets : {Offsets{0, 0}, Offsets{5, 5}, Offsets{1, 0}}) {
      check_step<W, G, M>(gpu, count, Kept::in_weight, offsets);
      check_step<W, G, M>(gpu, count, Kept::in_master, offsets);
      if constexpr (sizeof(W) == 2) check_step<W, G, M>(gpu, count, Kept::in_remainder, offsets);
    }
  }
}

}  // namespace

TEST_CASE("adamw on the device agrees with the host twin", "[kernels][adamw][gpu]") {
  Device gpu(0);
  check_types<float, float, float>(gpu);
  check_types<bf16, float, float>(gpu);
  check_types<bf16, float, bf16>(gpu);
  check_types<bf16, bf16, float>(gpu);
  check_types<bf16, bf16, bf16>(gpu);
}

TEST_CASE("adamw on the device keeps fp32 weights in a master or as a remainder, bit for bit",
          "[kernels][adamw][gpu]") {
  Device gpu(0);
  constexpr std::int64_t kCount = 3001;
  const Host<bf16, float, float> with_master(kCount, Kept::in_master),
      with_remainder(kCount, Kept::in_remainder);
  const Host<float, float, float> whole(kCount, Kept::in_weight);
  for (std::int64_t i = 0; i < kCount; ++i) whole.w[i] = float(with_master.w[i]);
  const OnDevice<bf16, float, float> master(with_master, {}), remainder(with_remainder, {1, 1});
  const OnDevice<float, float, float> all(whole, {});
  test::make_ready(gpu);
  for (int step = 1; step <= 20; ++step) {
    adamw(master.op(step), gpu.queue());
    adamw(remainder.op(step), gpu.queue());
    adamw(all.op(step), gpu.queue());
  }
  CHECK(master.weights() == all.weights());
  CHECK(remainder.weights() == all.weights());
  CHECK(master.m.bits() == all.m.bits());
  std::vector<std::uint32_t> rounded;
  for (const float value : all.w.values()) rounded.push_back(bf16(value).bits);
  CHECK(master.w.bits() == rounded);
}

TEST_CASE("adamw on the device reads the gradient's scale there", "[kernels][adamw][gpu]") {
  Device gpu(0);
  const Host<bf16, bf16, bf16> host(1000, Kept::in_master);
  const OnDevice<bf16, bf16, bf16> device(host, {});
  const auto w = device.w.bits(), m = device.m.bits(), v = device.v.bits(), master = device.master.bits();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    device.scale.put(std::vector<float>{bad});
    test::make_ready(gpu);
    adamw(device.op(1), gpu.queue());
    CHECK(device.w.bits() == w);
    CHECK(device.m.bits() == m);
    CHECK(device.v.bits() == v);
    CHECK(device.master.bits() == master);
  }
  auto op = host.op(1);
  auto device_op = device.op(1);
  op.gradient_scale = {}, device_op.gradient_scale = {};  // 1
  adamw(op);
  adamw(device_op, gpu.queue());
  CHECK(relative_error(device.master.values(), host.master.values()) < 1e-5);
}

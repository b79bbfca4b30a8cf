#include <cmath>

#include "kernels/attention/qk_norm_rope.h"
#include "kernels/attention/rope_table.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;
using test::Tensor;

namespace {

constexpr std::int64_t kPositions = 50;

struct Sizes {
  std::int64_t tokens, heads, kv_heads, head_dim, rotary_dim;
  bool norms = true;
  std::int64_t offset = 0;  // numbers from aligned addresses

  [[nodiscard]] std::int64_t q() const { return heads * head_dim; }
  [[nodiscard]] std::int64_t k() const { return kv_heads * head_dim; }
};

/// `all` where there is a norm, nothing without.
template <class V>
V where(const Sizes& sizes, V all) {
  return sizes.norms ? all : V();
}

/// Inputs and what the host twins, in fp32, make of them. x is a q|k|v buffer.
template <class T, class G>
struct Host {
  Sizes sizes;
  Normal<T, 2> x, dq, dk;
  Normal<T, 1> q_gain, k_gain;
  Normal<G, 1> q_dgain, k_dgain;
  Tensor<float, 2> q, k, dx, cosine, sine, inv_rms;
  Tensor<std::int32_t, 1> positions;

  explicit Host(const Sizes& with)
      : sizes(with),
        x({with.tokens, with.q() + 2 * with.k()}, 1),
        dq({with.tokens, with.q()}, 2),
        dk({with.tokens, with.k()}, 3),
        q_gain({with.head_dim}, 4),
        k_gain({with.head_dim}, 5),
        q_dgain({with.head_dim}, 6),
        k_dgain({with.head_dim}, 7),
        q(dq.shape()),
        k(dk.shape()),
        dx({with.tokens, with.q() + with.k()}),
        cosine({kPositions, with.rotary_dim / 2}),
        sine({kPositions, with.rotary_dim / 2}),
        inv_rms({with.tokens, with.heads + with.kv_heads}),
        positions({with.tokens}) {
    std::vector<double> frequencies;
    for (std::int64_t i = 0; i < with.rotary_dim / 2; ++i) frequencies.push_back(std::pow(0.9, double(i)));
    fill_rope_table(
        {.inverse_frequencies = frequencies, .factor = 1, .cosine = cosine.view(), .sine = sine.view()});
    for (std::int64_t t = 0; t < with.tokens; ++t) positions[t] = std::int32_t(7 * t % kPositions);
    qk_norm_rope_forward(QkNormRopeForward<float, Space::host>{.x = x_qk(),
                                                               .q = q.view(),
                                                               .k = k.view(),
                                                               .q_gain = where(sizes, q_gain.view()),
                                                               .k_gain = where(sizes, k_gain.view()),
                                                               .cosine = cosine.view(),
                                                               .sine = sine.view(),
                                                               .positions = positions.view(),
                                                               .inv_rms = where(sizes, inv_rms.view()),
                                                               .heads = sizes.heads,
                                                               .kv_heads = sizes.kv_heads});
  }
  [[nodiscard]] Matrix<float, Space::host> x_qk() const {
    return Matrix<float, Space::host>(x.view()).column_block(0, sizes.q() + sizes.k());
  }
  void backward(Into into) {
    qk_norm_rope_backward(QkNormRopeBackward<float, Space::host>{.dq = dq.view(),
                                                                 .dk = dk.view(),
                                                                 .x = x_qk(),
                                                                 .q_gain = where(sizes, q_gain.view()),
                                                                 .k_gain = where(sizes, k_gain.view()),
                                                                 .cosine = cosine.view(),
                                                                 .sine = sine.view(),
                                                                 .positions = positions.view(),
                                                                 .inv_rms = where(sizes, inv_rms.view()),
                                                                 .dx = dx.view(),
                                                                 .q_dgain = where(sizes, q_dgain.view()),
                                                                 .k_dgain = where(sizes, k_dgain.view()),
                                                                 .into = into,
                                                                 .heads = sizes.heads,
                                                                 .kv_heads = sizes.kv_heads});
  }
};

template <class T, class G>
struct OnDevice {
  Sizes sizes;
  Placed<T, 2> x, q, k, dq, dk, dx;
  Placed<T, 1> q_gain, k_gain;
  Placed<G, 1> q_dgain, k_dgain;
  Placed<float, 2> cosine, sine, inv_rms;
  Placed<std::int32_t, 1> positions;

  explicit OnDevice(const Host<T, G>& host)
      : sizes(host.sizes),
        x(host.x, sizes.offset),
        q(host.q.shape()),
        k(host.k.shape(), sizes.offset),
        dq(host.dq, sizes.offset),
        dk(host.dk),
        dx(host.dx.shape()),
        q_gain(host.q_gain),
        k_gain(host.k_gain),
        q_dgain(host.q_dgain),
        k_dgain(host.k_dgain),
        cosine(host.cosine),
        sine(host.sine),
        inv_rms(host.inv_rms.shape()),
        positions(host.positions) {}
  [[nodiscard]] Matrix<T, Space::device> x_qk() const {
    return x.matrix().column_block(0, sizes.q() + sizes.k());
  }
  QkNormRopeForward<T, Space::device> forward() const {
    return {.x = x_qk(),
            .q = q.matrix(),
            .k = k.matrix(),
            .q_gain = where(sizes, q_gain.view()),
            .k_gain = where(sizes, k_gain.view()),
            .cosine = cosine.view(),
            .sine = sine.view(),
            .positions = positions.view(),
            .inv_rms = where(sizes, inv_rms.view()),
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads};
  }
  QkNormRopeBackward<T, Space::device, G> backward(Into into) const {
    return {.dq = dq.matrix(),
            .dk = dk.matrix(),
            .x = sizes.norms ? x_qk() : Matrix<T, Space::device>(),
            .q_gain = where(sizes, q_gain.view()),
            .k_gain = where(sizes, k_gain.view()),
            .cosine = cosine.view(),
            .sine = sine.view(),
            .positions = positions.view(),
            .inv_rms = where(sizes, inv_rms.view()),
            .dx = dx.matrix(),
            .q_dgain = where(sizes, q_dgain.view()),
            .k_dgain = where(sizes, k_dgain.view()),
            .into = into,
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads};
  }
};

template <class T, class G>
void check_backward(Device& gpu, Host<T, G>& host, const OnDevice<T, G>& device, Into into) {
  const auto q_before = host.q_dgain.values(), k_before = host.k_dgain.values();
  const auto set_dgains = [&] {
    into == Into::add ? device.q_dgain.put(q_before) : device.q_dgain.poison();
    into == Into::add ? device.k_dgain.put(k_before) : device.k_dgain.poison();
    device.dx.poison();
    test::make_ready(gpu);
  };
  set_dgains();
  qk_norm_rope_backward(device.backward(into), gpu.queue());
  host.backward(into);
  CHECK(relative_error(device.dx.template values<float>(), host.dx.values()) < kTolerance<T>);
  if (!host.sizes.norms) return;
  CHECK(relative_error(device.q_dgain.template values<float>(), host.q_dgain.values()) < kTolerance<T>);
  CHECK(relative_error(device.k_dgain.template values<float>(), host.k_dgain.values()) < kTolerance<T>);
  const auto q_bits = device.q_dgain.bits(), k_bits = device.k_dgain.bits();
  set_dgains();
  qk_norm_rope_backward(device.backward(into), gpu.queue());
  CHECK(device.q_dgain.bits() == q_bits);
  CHECK(device.k_dgain.bits() == k_bits);
}

/// q and k, and then dq and dk, may be the columns of the other side.
template <class T, class G>
void check_in_place(Device& gpu, const Host<T, G>& host, const OnDevice<T, G>& device) {
  const auto q = device.q.bits(), k = device.k.bits(), before = device.x.bits();
  const Sizes& sizes = host.sizes;
  auto op = device.forward();
  op.q = device.x.matrix().column_block(0, sizes.q());
  op.k = device.x.matrix().column_block(sizes.q(), sizes.k());
  qk_norm_rope_forward(op, gpu.queue());
  const auto after = device.x.bits();
  bool is_same = true;
  const std::int64_t columns = sizes.q() + 2 * sizes.k();
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const auto at = std::size_t(t * columns + c);
      const bool is_q = c < sizes.q(), is_v = c >= sizes.q() + sizes.k();
      const auto expected = is_v   ? before[at]
                            : is_q ? q[std::size_t(t * sizes.q() + c)]
                                   : k[std::size_t(t * sizes.k() + c - sizes.q())];
      is_same = is_same && after[at] == expected;
    }
  }
  CHECK(is_same);
}

template <class T, class G>
void check_case(Device& gpu, const Sizes& sizes) {
  CAPTURE(sizes.tokens, sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.rotary_dim, sizes.norms,
          sizes.offset, sizeof(T), sizeof(G));
  Host<T, G> host(sizes);
  const OnDevice<T, G> device(host);
  test::make_ready(gpu);
  qk_norm_rope_forward(device.forward(), gpu.queue());
  CHECK(relative_error(device.q.template values<float>(), host.q.values()) < kTolerance<T>);
  CHECK(relative_error(device.k.template values<float>(), host.k.values()) < kTolerance<T>);
  if (sizes.norms) CHECK(relative_error(device.inv_rms.values(), host.inv_rms.values()) < 1e-5);
  check_backward(gpu, host, device, Into::add);
  check_backward(gpu, host, device, Into::overwrite);
  check_in_place(gpu, host, device);
}

const Sizes kSizes[] = {{37, 32, 4, 128, 128}, {1, 4, 2, 128, 128},         {37, 7, 3, 128, 64},
                        {37, 5, 1, 64, 64},    {300, 1, 1, 64, 32},         {9, 3, 2, 256, 256},
                        {20, 2, 1, 32, 32},    {20, 6, 2, 128, 128, false}, {5, 40, 8, 128, 128},
                        {700, 2, 2, 8, 4},     {37, 3, 2, 33, 10},          {37, 2, 2, 128, 20},
                        {37, 2, 2, 128, 0},    {20, 3, 1, 80, 80, false},   {11, 3, 2, 128, 128, true, 1}};

}  // namespace

TEST_CASE("qk_norm_rope on the device agrees with the host twin", "[kernels][rope][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes : kSizes) {
    check_case<float, float>(gpu, sizes);
    check_case<bf16, float>(gpu, sizes);
    check_case<bf16, bf16>(gpu, sizes);
  }
}

TEST_CASE("qk_norm_rope on the device: one dgain alone, gradients in place, no tokens",
          "[kernels][rope][gpu]") {
  Device gpu(0);
  Host<float, float> host({37, 4, 2, 128, 128});
  const OnDevice<float, float> device(host);
  test::make_ready(gpu);
  qk_norm_rope_forward(device.forward(), gpu.queue());
  auto op = device.backward(Into::overwrite);
  qk_norm_rope_backward(op, gpu.queue());
  const auto q_dgain = device.q_dgain.bits(), k_dgain = device.k_dgain.bits(), dx = device.dx.bits();

  Tensor<float, 2> packed(host.dx.shape());  // dq beside dk
  for (std::int64_t t = 0; t < 37; ++t) {
    std::copy_n(&host.dq.view()(t, 0), 512, &packed.view()(t, 0));
    std::copy_n(&host.dk.view()(t, 0), 256, &packed.view()(t, 512));
  }
  const Placed<float, 2> gradient(packed);
  device.q_dgain.poison(), device.k_dgain.poison();
  test::make_ready(gpu);
  op.dq = gradient.matrix().column_block(0, 512), op.dk = gradient.matrix().column_block(512, 256);
  op.dx = gradient.matrix();
  op.q_dgain = {};
  qk_norm_rope_backward(op, gpu.queue());
  CHECK(gradient.bits() == dx);
  CHECK(device.k_dgain.bits() == k_dgain);
  CHECK(device.q_dgain.bits() == std::vector<std::uint32_t>(128, 0xffffffffu));

  op.q_dgain = device.q_dgain.view();
  op.dq.rows = op.dk.rows = op.dx.rows = op.x.rows = op.positions.shape[0] = op.inv_rms.shape[0] = 0;
  qk_norm_rope_backward(op, gpu.queue());
  CHECK(device.q_dgain.values() == std::vector<float>(128, 0.0f));
  CHECK(q_dgain.size() == 128);
}

TEST_CASE("rope_table on the device agrees with the host twin", "[kernels][rope][gpu]") {
  Device gpu(0);
  for (const std::int64_t half : {1, 64, 130}) {
    std::vector<double> frequencies;
    for (std::int64_t i = 0; i < half; ++i) frequencies.push_back(std::pow(1e6, -double(i) / double(half)));
    Tensor<float, 2> cosine({3000, half}), sine({3000, half});
    const Placed<float, 2> device_cosine(cosine.shape()), device_sine(sine.shape());
    test::make_ready(gpu);
    fill_rope_table(
        {.inverse_frequencies = frequencies, .factor = 1.25, .cosine = cosine.view(), .sine = sine.view()});
    fill_rope_table(RopeTable<Space::device>{.inverse_frequencies = frequencies,
                                             .factor = 1.25,
                                             .cosine = device_cosine.view(),
                                             .sine = device_sine.view()},
                    gpu.queue());
    CHECK(relative_error(device_cosine.values(), cosine.values()) < 1e-7);  // the same angles, in double
    CHECK(relative_error(device_sine.values(), sine.values()) < 1e-7);
  }
}

#include "kernels/attention/device/attention_cudnn.h"
#include "kernels/attention/device/plain.h"
#include "tests/kernels/attention_device_case.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::kernels;
using test::AttentionErrors;
using test::AttentionTestSizes;
using test::DeviceAttention;
using test::HostAttention;
using test::segments_of;

namespace {

/// lse: sums of fp32 products in either type, close to exact in bf16 too.
void check_errors(const AttentionErrors& errors, double tolerance) {
  CHECK(errors.y < tolerance);
  CHECK(errors.log_sum_exp < 1e-5);
  CHECK(errors.dq < tolerance);
  CHECK(errors.dk < tolerance);
  CHECK(errors.dv < tolerance);
}

/// Rows that see no key are -infinity, in both: a number to compare with.
test::AttentionResults seen(test::AttentionResults results) {
  for (float& value : results.log_sum_exp) value = value == -INFINITY ? -1e3f : value;
  return results;
}

template <class T>
void run_plain(const DeviceAttention<T>& device, Queue<Space::device> queue) {
  attention_forward_plain(device.forward(), queue);
  attention_backward_plain(device.backward(), queue);
}

/// The plain kernels against the host, for fp32 and bf16, v beside `columns_before` other columns.
template <class T>
void check_plain(Device& gpu, const AttentionTestSizes& sizes, std::int64_t columns_before) {
  CAPTURE(sizeof(T), sizes.heads, sizes.kv_heads, sizes.head_dim, columns_before);
  HostAttention<T> host(sizes);
  const DeviceAttention<T> device(host, columns_before);
  run_plain(device, gpu.queue());
  check_errors(errors_of(device.results(), host.run()), test::kTolerance<T>);
}

/// Segments, one of them empty, and padding.
AttentionTestSizes packed(std::array<std::int64_t, 3> heads) {
  return segments_of({1, 64, 0, 135, 131}, 340, heads);
}

/// For cuDNN: rows of padding that hold numbers, as training has them.
AttentionTestSizes training(const std::vector<std::int32_t>& lengths, std::int64_t rows,
                            std::array<std::int64_t, 3> heads) {
  AttentionTestSizes sizes = segments_of(lengths, rows, heads);
  sizes.unowned = 9;
  return sizes;
}

/// q and k before their norm stand before v.
std::int64_t columns_before_v(const AttentionTestSizes& sizes) {
  return (sizes.heads + sizes.kv_heads) * sizes.head_dim;
}

void run_cudnn(const DeviceAttention<bf16>& device, Queue<Space::device> queue) {
  REQUIRE(suits_cudnn(device.forward()));
  REQUIRE(suits_cudnn(device.backward()));
  attention_forward(device.forward(), queue);
  attention_backward(device.backward(), queue);
}

/// cuDNN against the host; a second time with NaN in all memory that the backward pass may use.
void check_cudnn(Device& gpu, const AttentionTestSizes& sizes, double tolerance = test::kTolerance<bf16>) {
  CAPTURE(sizes.query_starts, sizes.heads, sizes.kv_heads, sizes.head_dim);
  HostAttention<bf16> host(sizes);
  const DeviceAttention<bf16> device(host, columns_before_v(sizes));
  run_cudnn(device, gpu.queue());
  const test::AttentionResults expected = host.run();
  check_errors(errors_of(device.results(), expected), tolerance);

  device.poison_gradients();
  check(cudaMemset(gpu.scratch(1), 0xff, std::size_t(gpu.scratch_bytes())));
  check(cudaDeviceSynchronize());
  attention_backward(device.backward(), gpu.queue());
  check_errors(errors_of(device.results(), expected), tolerance);
}

}  // namespace

TEST_CASE("plain attention on the device equals the host twin", "[kernels][attention][gpu]") {
  Device gpu(0);
  using Heads = std::array<std::int64_t, 3>;
  for (const Heads heads :
       {Heads{4, 2, 16}, {1, 1, 128}, {6, 2, 40}, {4, 1, 8}, {2, 2, 256}, {3, 3, 7}, {8, 1, 64}}) {
    for (const std::int64_t columns_before : {0, 8, 3}) {  // 3: no rows of 16-byte packs
      check_plain<float>(gpu, packed(heads), columns_before);
      check_plain<bf16>(gpu, packed(heads), columns_before);
    }
  }
}

TEST_CASE("plain attention on the device of one token, one segment, no segment",
          "[kernels][attention][gpu]") {
  Device gpu(0);
  for (const AttentionTestSizes& sizes :
       {segments_of({1}, 1, {2, 1, 32}), segments_of({200}, 200, {12, 4, 32}), segments_of({}, 5, {2, 1, 32}),
        segments_of({0, 0}, 5, {2, 1, 32}), segments_of({}, 0, {2, 1, 32})}) {
    CAPTURE(sizes.query_starts);
    check_plain<float>(gpu, sizes, 0);
    check_plain<bf16>(gpu, sizes, 0);
  }
}

TEST_CASE("plain attention on the device is aligned at the end of a cache", "[kernels][attention][gpu]") {
  Device gpu(0);
  // One token against 130 keys; 3 against 200 with room behind them; a prompt of 70 into an empty cache.
  AttentionTestSizes sizes{.query_starts = {0, 1, 4, 74},
                           .key_starts = {0, 150, 400, 500},
                           .key_counts = {130, 200, 70},
                           .query_rows = 76,
                           .key_rows = 500,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 16};
  for (const std::int64_t heads : {4, 40}) {  // few enough to share a query, and more
    sizes.heads = heads;
    check_plain<float>(gpu, sizes, 0);
    check_plain<bf16>(gpu, sizes, 0);
  }
}

TEST_CASE("attention in parts on the device equals the host twin", "[kernels][attention][gpu]") {
  Device gpu(0);
  // Queries 2 to 71 see keys 0 to 69 and 75 to 79; 80 to 89 see none; 90 to 99 see one.
  AttentionTestSizes sizes{.query_starts = {2, 40, 80, 90, 101},
                           .key_starts = {0, 75, 80, 80, 81},
                           .key_counts = {70, 5, 0, 1},
                           .query_rows = 110,
                           .key_rows = 90,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 64,
                           .unowned = 0,
                           .query_counts = {38, 32, 10, 10},
                           .mask = Mask::nothing};
  for (const std::int64_t heads : {4, 40}) {
    sizes.heads = heads;
    HostAttention<float> host(sizes);
    const DeviceAttention<float> device(host, 0);
    run_plain(device, gpu.queue());
    check_errors(errors_of(seen(device.results()), seen(host.run())), test::kTolerance<float>);
    HostAttention<bf16> host_of_bf16(sizes);
    const DeviceAttention<bf16> device_of_bf16(host_of_bf16, 0);
    CHECK_FALSE(suits_cudnn(device_of_bf16.forward()));  // not a multiple of 128 rows
    run_plain(device_of_bf16, gpu.queue());
    check_errors(errors_of(seen(device_of_bf16.results()), seen(host_of_bf16.run())), test::kTolerance<bf16>);
  }
}

TEST_CASE("cuDNN's attention in parts equals the host twin", "[kernels][attention][gpu]") {
  Device gpu(0);
  // As context ranks attend: queries of a sample's second piece to all keys of another rank, or all queries
  // to the keys of its first piece; rows in between belong to no segment.
  AttentionTestSizes sizes{.query_starts = {100, 331, 500, 600},
                           .key_starts = {0, 200, 511, 630},
                           .key_counts = {200, 300, 1},
                           .query_rows = 640,
                           .key_rows = 640,
                           .heads = 8,
                           .kv_heads = 2,
                           .head_dim = 128,
                           .longest = 169,
                           .unowned = 9,
                           .query_counts = {150, 169, 30},
                           .mask = Mask::nothing,
                           .longest_keys = 300};
  for (const std::int64_t head_dim : {64, 128}) {
    sizes.head_dim = head_dim;
    HostAttention<bf16> host(sizes);
    const DeviceAttention<bf16> device(host, 0);
    run_cudnn(device, gpu.queue());
    const test::AttentionResults expected = seen(host.run());
    check_errors(errors_of(seen(device.results()), expected), test::kTolerance<bf16>);

    device.poison_gradients();
    check(cudaMemset(gpu.scratch(1), 0xff, std::size_t(gpu.scratch_bytes())));
    check(cudaDeviceSynchronize());
    attention_backward(device.backward(), gpu.queue());
    check_errors(errors_of(seen(device.results()), expected), test::kTolerance<bf16>);

    // Beside other columns, dv goes to the plain kernels.
    const DeviceAttention<bf16> beside(host, 8);
    CHECK_FALSE(suits_cudnn(beside.backward()));
  }
}

TEST_CASE("plain attention on the device without statistics, and again", "[kernels][attention][gpu]") {
  Device gpu(0);
  HostAttention<float> host(packed({8, 2, 24}));
  const DeviceAttention<float> device(host, 0);
  run_plain(device, gpu.queue());
  const test::AttentionResults first = device.results();
  device.poison_outputs();
  auto forward = device.forward();
  forward.log_sum_exp = {};
  attention_forward(forward, gpu.queue());
  CHECK(device.results().y == first.y);
  run_plain(device, gpu.queue());
  const test::AttentionResults second = device.results();
  CHECK(second.y == first.y);
  CHECK(second.dq == first.dq);
  CHECK(second.dk == first.dk);
  CHECK(second.dv == first.dv);
}

TEST_CASE("cuDNN's attention equals the host twin", "[kernels][attention][gpu]") {
  Device gpu(0);
  using Heads = std::array<std::int64_t, 3>;
  for (const Heads heads : {Heads{8, 2, 128}, {8, 2, 64}, {2, 2, 128}, {4, 4, 64}, {4, 1, 128}}) {
    check_cudnn(gpu, training({128}, 128, heads));
    check_cudnn(gpu, training({511}, 512, heads));
    check_cudnn(gpu, training({1, 127, 129, 300}, 640, heads));
    check_cudnn(gpu, training({300, 1, 338, 1}, 640, heads));
  }
  check_cudnn(gpu, training({1, 127, 129, 300, 3539}, 4096, {4, 2, 128}));
}

TEST_CASE("cuDNN's attention keeps its precision where all scores are far below zero",
          "[kernels][attention][gpu]") {
  Device gpu(0);
  for (const std::int64_t head_dim : {64, 128}) {
    AttentionTestSizes sizes = training({200, 40, 700}, 1024, {4, 2, head_dim});
    sizes.score_shift = -120;
    // What q and k have in common makes 4 times more of the rounding of the scores' gradients.
    check_cudnn(gpu, sizes, 4 * test::kTolerance<bf16>);
  }
}

TEST_CASE("cuDNN's attention shares plans between batches", "[kernels][attention][gpu]") {
  Device gpu(0);
  // 9 and 10 segments take a plan for 10, 17 to 20 one for 20, with single rows of padding.
  check_cudnn(gpu, training({10, 20, 30, 40, 50, 60, 70, 80, 90}, 512, {4, 2, 64}));
  check_cudnn(gpu, training({10, 20, 30, 40, 50, 60, 70, 80, 90, 33}, 512, {4, 2, 64}));
  check_cudnn(gpu, training(std::vector<std::int32_t>(17, 22), 384, {4, 2, 64}));
  check_cudnn(gpu, training(std::vector<std::int32_t>(19, 20), 384, {4, 2, 64}));
  // No padding, or nothing known of it.
  check_cudnn(gpu, training(std::vector<std::int32_t>(17, 128), 17 * 128, {2, 1, 64}));
  AttentionTestSizes sizes = training({10, 20, 30, 40, 50, 60, 70, 80, 90}, 512, {4, 2, 64});
  sizes.longest = sizes.padding = 0;
  check_cudnn(gpu, sizes);
}

TEST_CASE("cuDNN's attention without statistics", "[kernels][attention][gpu]") {
  Device gpu(0);
  HostAttention<bf16> host(training({100, 150}, 256, {4, 2, 64}));
  const DeviceAttention<bf16> device(host, columns_before_v(host.sizes));
  auto forward = device.forward();
  forward.log_sum_exp = {};
  REQUIRE(suits_cudnn(forward));
  attention_forward(forward, gpu.queue());
  CHECK(test::relative_error(device.results().y, host.run().y) < test::kTolerance<bf16>);
}

TEST_CASE("attention that cuDNN cannot do takes the plain kernels", "[kernels][attention][gpu]") {
  HostAttention<bf16> host(training({100, 150}, 256, {4, 2, 64}));
  const DeviceAttention<bf16> device(host, columns_before_v(host.sizes));
  REQUIRE(suits_cudnn(device.backward()));
  auto op = device.backward();
  op.dq.stride += 8;  // other rows than q
  CHECK_FALSE(suits_cudnn(op));
  op = device.backward();
  op.dv.data += 1;  // no packs
  CHECK_FALSE(suits_cudnn(op));
  op = device.backward();
  op.segments.query_starts.shape = {1};
  CHECK_FALSE(suits_cudnn(op));
  op = device.backward();
  op.segments.key_starts.data += 1;
  CHECK_FALSE(suits_cudnn(op));
  op = device.backward();
  op.q.rows = op.k.rows = 255;
  CHECK_FALSE(suits_cudnn(op));
  op = device.backward();
  op.heads = 8, op.kv_heads = 4;  // of 32
  CHECK_FALSE(suits_cudnn(op));
}

/// Slow under compute-sanitizer: leave it out there with "~[large]".
TEST_CASE("cuDNN's attention of long sequences equals the plain kernels",
          "[kernels][attention][gpu][large]") {
  Device gpu(0);
  const AttentionTestSizes sizes = training({4096, 4096, 4096, 4095}, 4 * 4096, {4, 1, 128});
  HostAttention<bf16> host(sizes);
  const DeviceAttention<bf16> device(host, columns_before_v(sizes));
  run_cudnn(device, gpu.queue());
  CHECK(gpu.scratch_bytes() <= round_up(attention_scratch_bytes({.tokens = sizes.query_rows,
                                                                 .heads = sizes.heads,
                                                                 .kv_heads = sizes.kv_heads,
                                                                 .head_dim = sizes.head_dim}),
                                        std::int64_t{1} << 20));
  const test::AttentionResults got = device.results();
  device.poison_outputs();
  run_plain(device, gpu.queue());
  check_errors(errors_of(got, device.results()), test::kTolerance<bf16>);
}

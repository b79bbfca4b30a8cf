#include "kernels/moe/permute.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Tensor;
using test::values_of;

namespace {

void poison_scratch(Device& gpu) {
  check(cudaMemset(gpu.scratch(1 << 20), 0xa5, std::size_t(gpu.scratch_bytes())));
  check(cudaDeviceSynchronize());
}

template <class T, int Rank>
void spoil(const test::DeviceTensor<T, Rank>& tensor) {  // 0xff would be -1, a result
  check(cudaMemset(tensor.data(), 0xa5, std::size_t(tensor.count()) * sizeof(T)));
}

template <Space S>
struct Plan {
  Tensor<std::int32_t, 2, S> ids, positions;
  Tensor<std::int32_t, 1, S> starts, assignments;

  Plan(std::int64_t tokens, std::int64_t top_k, std::int64_t experts)
      : ids({tokens, top_k}),
        positions({tokens, top_k}),
        starts({experts + 1}),
        assignments({tokens * top_k}) {}
  PermutePlan<S> op() const {
    return {.ids = ids.view(),
            .starts = starts.view(),
            .positions = positions.view(),
            .assignments = assignments.view()};
  }
};

struct Sizes {
  std::int64_t tokens, top_k, experts;
};

/// `absent` of 100 assignments go nowhere, and so do the last 7 tokens.
void check_plan(Device& gpu, Sizes sizes, int absent) {
  const auto [tokens, top_k, experts] = sizes;
  CAPTURE(sizes.tokens, sizes.top_k, sizes.experts, absent);
  const Plan<Space::host> host(tokens, top_k, experts);
  const Plan<Space::device> device(tokens, top_k, experts);
  std::mt19937 engine(unsigned(tokens + experts));
  for (std::int64_t i = 0; i < host.ids.count(); ++i) {
    const bool goes = int(engine() % 100) >= absent && i / top_k < std::max<std::int64_t>(tokens - 7, 1);
    const auto id = std::int32_t(engine() % std::uint64_t(experts));
    host.ids[i] = goes ? id - id % (1 + std::int32_t(engine() % 3)) : -1;  // some experts are chosen more
  }
  put(host.ids, device.ids);
  spoil(device.positions), spoil(device.starts), spoil(device.assignments);
  poison_scratch(gpu);
  permute_plan(device.op(), gpu.queue());
  permute_plan(host.op());
  CHECK(values_of<std::int32_t>(device.starts) == host.starts.values());
  CHECK(values_of<std::int32_t>(device.positions) == host.positions.values());
  CHECK(values_of<std::int32_t>(device.assignments) == host.assignments.values());
}

/// Groups of `size` experts from number 3 on; experts before and behind them are elsewhere.
void check_groups(Device& gpu, Sizes sizes, std::int64_t size) {
  const auto [tokens, top_k, groups] = sizes;
  CAPTURE(tokens, top_k, groups, size);
  const Plan<Space::host> host(tokens, top_k, groups);
  const Plan<Space::device> device(tokens, top_k, groups);
  std::mt19937 engine(unsigned(tokens + groups));
  const auto experts = std::int32_t(groups * size + 7);
  for (std::int64_t i = 0; i < host.ids.count(); ++i) {
    // Those of a token differ: one of each top_k.
    const auto id = std::int32_t(i % top_k + top_k * std::int64_t(engine() % std::uint64_t(experts)));
    host.ids[i] = id < experts ? id : -1;
  }
  put(host.ids, device.ids);
  spoil(device.positions), spoil(device.starts), spoil(device.assignments);
  poison_scratch(gpu);
  PermutePlan<Space::device> device_op = device.op();
  PermutePlan<Space::host> host_op = host.op();
  device_op.first = host_op.first = 3;
  device_op.experts_per_group = host_op.experts_per_group = size;
  permute_plan(host_op);
  device_op.assignments.shape[0] = host.starts[groups];
  permute_plan(device_op, gpu.queue());
  CHECK(values_of<std::int32_t>(device.starts) == host.starts.values());
  CHECK(values_of<std::int32_t>(device.positions) == host.positions.values());
  auto assignments = values_of<std::int32_t>(device.assignments), expected = host.assignments.values();
  assignments.resize(std::size_t(host.starts[groups])), expected.resize(assignments.size());
  CHECK(assignments == expected);
}

/// Rows of x to be gathered, behind `skipped` numbers that make them start off 16 bytes.
template <class T>
struct Source {
  Tensor<float, 2> host;
  test::DeviceTensor<T, 1> memory;
  View<const T, 2, Space::device> view;

  Source(std::int64_t rows, std::int64_t width, std::int64_t skipped)
      : host({rows, width}), memory({rows * width + skipped}), view(memory.data() + skipped, {rows, width}) {
    fill_normal(host, 6);
    test::round_to<T>(host);
    std::vector<T> values;
    for (std::int64_t i = 0; i < host.count(); ++i) values.push_back(T(host[i]));
    check(cudaMemcpy(memory.data() + skipped, values.data(), values.size() * sizeof(T),
                     cudaMemcpyHostToDevice));
  }
};

void fill_rows(const Tensor<std::int32_t, 2>& index, std::int64_t end) {
  std::mt19937 engine(7);
  for (std::int64_t i = 0; i < index.count(); ++i)
    index[i] = std::int32_t(engine() % std::uint64_t(end + 1)) - 1;
}

/// Exactly equal: rows are copies, and sums are of the same numbers in the same order, rounded once.
template <class T>
void check_gathers(Device& gpu, std::int64_t width, std::int64_t choices, std::int64_t skipped) {
  CAPTURE(sizeof(T), width, choices, skipped);
  constexpr std::int64_t kTokens = 21, kSources = 40;
  const Source<T> source(kSources, width, skipped);
  const Tensor<std::int32_t, 2> index({kTokens, choices});
  fill_rows(index, kSources);
  const Tensor<float, 2> rows({kTokens * choices, width}), sums({kTokens, width});
  const test::DeviceTensor<std::int32_t, 2> device_index({kTokens, choices});
  const test::DeviceTensor<T, 2> device_rows({kTokens * choices, width}), device_sums({kTokens, width});
  put(index, device_index);
  poison(device_rows), poison(device_sums);
  check(cudaDeviceSynchronize());
  gather_rows<T>({.x = source.view, .index = device_index.view().flat(), .y = device_rows.view()},
                 gpu.queue());
  gather_sum<T>({.x = source.view, .index = device_index.view(), .y = device_sums.view()}, gpu.queue());
  gather_rows<float>({.x = source.host.view(), .index = index.view().flat(), .y = rows.view()});
  gather_sum<float>({.x = source.host.view(), .index = index.view(), .y = sums.view()});
  test::round_to<T>(sums);
  CHECK(values_of<float>(device_rows) == rows.values());
  CHECK(values_of<float>(device_sums) == sums.values());
}

/// x to random rows of y, of which some get nothing and stay as they are.
template <class T>
void check_spread(Device& gpu, std::int64_t width, std::int64_t choices, std::int64_t skipped) {
  CAPTURE(sizeof(T), width, choices, skipped);
  constexpr std::int64_t kTokens = 21;
  const std::int64_t rows = kTokens * choices + 5;
  const Source<T> source(kTokens, width, skipped);
  const Tensor<std::int32_t, 2> index({kTokens, choices});
  for (std::int64_t i = 0; i < index.count(); ++i) index[i] = i % 6 == 4 ? -1 : std::int32_t(rows - 1 - i);
  const Tensor<float, 2> y({rows, width});
  const test::DeviceTensor<std::int32_t, 2> device_index({kTokens, choices});
  const test::DeviceTensor<T, 2> device_y({rows, width});
  test::fill(y, 2.0f);
  put(index, device_index), put(y, device_y);
  check(cudaDeviceSynchronize());
  spread_rows<T>({.x = source.view, .index = device_index.view(), .y = device_y.view()}, gpu.queue());
  spread_rows<float>({.x = source.host.view(), .index = index.view(), .y = y.view()});
  CHECK(values_of<float>(device_y) == y.values());
}

}  // namespace

TEST_CASE("permute_plan on the device is that of the host", "[kernels][permute][gpu]") {
  Device gpu(0);
  const Sizes all[] = {{1, 1, 1},     {4, 2, 4},      {200, 3, 7},   {1000, 8, 128}, {128, 8, 128},
                       {700, 8, 512}, {100, 4, 1024}, {3000, 1, 60}, {2000, 8, 1},   {36000, 4, 300}};
  for (const Sizes sizes : all) {
    for (const int absent : {0, 30}) check_plan(gpu, sizes, absent);
  }
  check_plan(gpu, {300, 8, 128}, 100);
  check_plan(gpu, {0, 8, 128}, 0);
  const Plan<Space::device> large(1, 1, 1025);
  CHECK_THROWS_WITH(permute_plan(large.op(), gpu.queue()),
                    "permute.starts: 1025 groups, at most 1024 on a device");
}

TEST_CASE("permute_plan by groups on the device is that of the host", "[kernels][permute][gpu]") {
  Device gpu(0);
  for (const Sizes sizes : {Sizes{1, 1, 1}, {200, 3, 7}, {1000, 8, 8}, {3000, 8, 64}, {700, 5, 2}}) {
    for (const std::int64_t size : {1, 2, 16}) check_groups(gpu, sizes, size);
  }
}

TEST_CASE("gathers on the device are those of the host", "[kernels][permute][gpu]") {
  Device gpu(0);
  for (const std::int64_t width : {1, 3, 8, 50, 64, 768, 2048, 2056}) {
    check_gathers<float>(gpu, width, 8, 0);
    check_gathers<bf16>(gpu, width, 8, 0);
    check_gathers<bf16>(gpu, width, 11, 1);
    check_gathers<float>(gpu, width, 1, 2);
  }
}

TEST_CASE("spread_rows on the device is that of the host", "[kernels][permute][gpu]") {
  Device gpu(0);
  for (const std::int64_t width : {1, 3, 8, 50, 768, 2048, 2056}) {
    check_spread<float>(gpu, width, 3, 0);
    check_spread<bf16>(gpu, width, 8, 0);
    check_spread<bf16>(gpu, width, 1, 1);
  }
}

TEST_CASE("gathers on the device leave nothing to do where there are no rows", "[kernels][permute][gpu]") {
  Device gpu(0);
  const test::DeviceTensor<float, 2> x({0, 8}), y({0, 8}), cleared({2, 8});
  const test::DeviceTensor<std::int32_t, 2> none({0, 4}), nowhere({2, 4});
  poison(nowhere), poison(cleared);
  check(cudaDeviceSynchronize());
  gather_rows<float>({.x = x.view(), .index = none.view().flat(), .y = y.view()}, gpu.queue());
  gather_sum<float>({.x = x.view(), .index = none.view(), .y = y.view()}, gpu.queue());
  gather_sum<float>({.x = x.view(), .index = nowhere.view(), .y = cleared.view()}, gpu.queue());
  CHECK(values_of<float>(cleared) == std::vector<float>(16));
}

#include <cstring>

#include "models/weight_state.h"
#include "tests/models/weight_cases.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using models::Run;
using models::Truth;

namespace {

using HostWeights = test::OwnedWeights<bf16, Space::host>;
using DeviceWeights = test::OwnedWeights<bf16, Space::device>;

constexpr std::int64_t kWide = 400'001;  // six rows of it pass through staging in three parts

/// Flat shards on the device are those on the host, byte by byte, gaps included.
template <class T>
bool equal_bytes(View<T, 1, Space::device> device, View<T, 1, Space::host> host) {
  std::vector<T> copy(std::size_t(device.size()));
  check(cudaDeviceSynchronize());
  check(cudaMemcpy(copy.data(), device.data, copy.size() * sizeof(T), cudaMemcpyDeviceToHost));
  return std::memcmp(copy.data(), host.data, copy.size() * sizeof(T)) == 0;
}

bool equal_states(const DeviceWeights& device, const HostWeights& host) {
  return equal_bytes(device.state.weights.flat(), host.state.weights.flat()) &&
         (!host.state.master || equal_bytes(device.state.master->flat(), host.state.master->flat())) &&
         (!host.state.remainder || equal_bytes(device.state.remainder->flat(), host.state.remainder->flat()));
}

/// Puts `values` in runs of `count` that lie `stride` apart, from element 1 of row `index` on.
template <class Weights>
void put_apart(Weights& weights, std::size_t index, const std::vector<float>& values, std::int64_t count,
               std::int64_t stride) {
  std::vector<Run> runs;
  for (std::int64_t local = 0; local < std::int64_t(values.size()); local += count)
    runs.push_back({local, 1 + local / count * stride, count});
  models::ShardUpload upload(weights.state, weights.queue);
  upload.put(index, runs, Dtype::float32, reinterpret_cast<const std::byte*>(values.data()));
  upload.finish();
}

}  // namespace

TEST_CASE("what reaches the device is what the host keeps, bit for bit", "[models]") {
  kernels::Device gpu(0);
  const auto truth = GENERATE(Truth::weights, Truth::master, Truth::remainder);
  HostWeights host(test::cut_table(kWide), models::Mesh(), truth, {});
  DeviceWeights device(test::cut_table(kWide), models::Mesh(), truth, gpu.queue());
  CHECK(equal_states(device, host));  // zeros
  for (const std::size_t index : {std::size_t{0}, std::size_t{2}, std::size_t{4}}) {
    const std::vector<float> values = test::awkward_values(host.layout.row(index).size);
    host.put(index, values), device.put(index, values);
    CHECK(test::same_bits(device.values(index), host.values(index)));
  }
  CHECK(equal_states(device, host));
}

TEST_CASE("runs that lie apart go where they belong on the device", "[models]") {
  kernels::Device gpu(0);
  HostWeights host(test::cut_table(kWide), models::Mesh(), Truth::master, {});
  DeviceWeights device(test::cut_table(kWide), models::Mesh(), Truth::master, gpu.queue());
  // Rows of 3 elements, more than fit a part; then rows longer than a part.
  const std::vector<float> narrow = test::awkward_values(3 * 400'000);
  put_apart(host, 0, narrow, 3, 5), put_apart(device, 0, narrow, 3, 5);
  CHECK(equal_states(device, host));
  const std::vector<float> wide = test::awkward_values(2 * 1'100'000);
  put_apart(host, 0, wide, 1'100'000, 1'200'001), put_apart(device, 0, wide, 1'100'000, 1'200'001);
  CHECK(equal_states(device, host));

  const std::vector<Run> runs{{0, 1, 3}, {3, 17, 1'048'577}, {1'048'580, 2'000'000, 5}};
  std::vector<float> expected(1'048'585), got(1'048'585);
  models::ShardDownload(host.state, host.queue).get(0, runs, reinterpret_cast<std::byte*>(expected.data()));
  models::ShardDownload(device.state, device.queue).get(0, runs, reinterpret_cast<std::byte*>(got.data()));
  CHECK(test::same_bits(got, expected));
}

TEST_CASE("a random start on the device is that of the host", "[models]") {
  kernels::Device gpu(0);
  const auto truth = GENERATE(Truth::weights, Truth::master, Truth::remainder);
  HostWeights host(test::cut_table(1000), models::Mesh(), truth, {});
  DeviceWeights device(test::cut_table(1000), models::Mesh(), truth, gpu.queue());
  models::initialise(host.state, 5, host.queue);
  models::initialise(device.state, 5, device.queue);
  for (std::size_t i = 0; i < host.layout.count(); ++i) {
    // The twins' logarithms and cosines in double may differ in the last bit: no more than a rounding to
    // fp32, or to bf16 where that is all that is kept.
    CHECK(test::relative_error(device.values(i), host.values(i)) < (truth == Truth::weights ? 1e-4 : 1e-6));
  }
  CHECK(device.values(1) == std::vector<float>(7, 1.0f));
}

TEST_CASE("a random start on the device does not depend on the mesh", "[models]") {
  kernels::Device gpu(0);
  const auto truth = GENERATE(Truth::master, Truth::remainder);
  DeviceWeights whole(test::cut_table(1000), models::Mesh(), truth, gpu.queue());
  models::initialise(whole.state, 5, gpu.queue());
  for (const std::int64_t rank : {0, 1, 2, 3}) {
    DeviceWeights part(test::cut_table(1000), models::Mesh(4, rank, {.tensor = 4}), truth, gpu.queue());
    models::initialise(part.state, 5, gpu.queue());
    for (std::size_t i = 0; i < whole.layout.count(); ++i) {
      const std::vector<float> all = whole.values(i), own = part.values(i);
      std::vector<float> expected;
      for (const Run& run : models::runs_of(whole.layout.table()[i], part.layout.row(i).slab)) {
        expected.insert(expected.end(), all.begin() + run.whole, all.begin() + run.whole + run.count);
      }
      CHECK(test::same_bits(own, expected));
    }
  }
}

TEST_CASE("weights in fp32 on the device keep their bits", "[models]") {
  kernels::Device gpu(0);
  test::OwnedWeights<float, Space::device> weights(test::cut_table(1000), models::Mesh(), Truth::master,
                                                   gpu.queue());
  const std::vector<float> values = test::awkward_values(6000);
  weights.put(0, values);
  CHECK(test::same_bits(weights.values(0), values));
  CHECK_FALSE(weights.state.master);
}

#include <numeric>
#include <random>

#include "tests/parallel/device_rig.h"

namespace moebius::parallel {
namespace {

constexpr std::array kAxes{Axis::tensor, Axis::data, Axis::expert, Axis::expert_data, Axis::world};
constexpr std::int64_t kCounts[] = {0, 1, 3, 5003};  // fewer elements than ranks, and several segments

/// Whole numbers are summed exactly in every type, so all back ends agree to the bit. bf16 has 8 bits.
template <class T>
std::vector<T> numbers(std::int64_t count, std::int64_t seed) {
  std::vector<T> values;
  std::mt19937 generator{std::uint32_t(seed)};
  for (std::int64_t i = 0; i < count; ++i) values.push_back(T(float(int(generator() % 15) - 7)));
  return values;
}

/// Numbers of which sums depend on the order.
std::vector<float> rough_numbers(std::int64_t count, std::int64_t seed) {
  std::vector<float> values;
  std::mt19937 generator{std::uint32_t(seed)};
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(normal(generator) * (i % 3 == 0 ? 1e6f : 1e-3f));
  return values;
}

std::int64_t total(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

}  // namespace

TEMPLATE_TEST_CASE("sums and gathers of device memory are the host's", "", float, bf16, double, std::int32_t,
                   std::int64_t) {
  using T = TestType;
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const auto host = make_mpi_exchange(rig.cluster, mesh);
  const auto queue = rig.device.queue();
  for (const auto& exchange : rig.exchanges(mesh))
    for (const Axis axis : kAxes)
      for (const std::int64_t count : kCounts) {
        const Call call{axis, "test"};
        const std::int64_t degree = mesh.degree(axis);
        auto part = numbers<T>(count, 1 + rig.cluster.rank());
        auto whole = numbers<T>(count * degree, 100 + rig.cluster.rank());
        const OnDevice<T> device_part(part), device_whole(whole);
        const OnDevice<T> sums(part), greatest(part), gathered(count * degree), scattered(count);
        exchange->template all_reduce<T>(call, sums.view(), Reduction::sum, queue);
        exchange->template all_reduce<T>(call, greatest.view(), Reduction::max, queue);
        exchange->template all_gather<T>(call, device_part.view(), gathered.view(), queue);
        exchange->template reduce_scatter<T>(call, device_whole.view(), scattered.view(), queue);
        exchange->wait(call, queue);

        auto host_sums = part, host_greatest = part, host_scattered = part;
        std::vector<T> host_gathered(std::size_t(count * degree), T(0.0f));
        host->template all_reduce<T>(call, host_view(host_sums), Reduction::sum, {});
        host->template all_reduce<T>(call, host_view(host_greatest), Reduction::max, {});
        host->template all_gather<T>(call, host_view(part), host_view(host_gathered), {});
        host->template reduce_scatter<T>(call, host_view(whole), host_view(host_scattered), {});
        REQUIRE(same_bits(sums.values(), host_sums));
        REQUIRE(same_bits(greatest.values(), host_greatest));
        REQUIRE(same_bits(gathered.values(), host_gathered));
        REQUIRE(same_bits(scattered.values(), host_scattered));
        REQUIRE(same_bits(device_part.values(), part));
        REQUIRE(same_bits(device_whole.values(), whole));
      }
}

TEST_CASE("device memory is gathered and scattered in place") {
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const auto queue = rig.device.queue();
  const std::int64_t count = 3001, size = rig.cluster.size(), rank = rig.cluster.rank();
  for (const auto& exchange : rig.exchanges(mesh)) {
    std::vector<float> values(std::size_t(count * size), -1);
    std::fill_n(values.begin() + rank * count, count, float(rank));
    const OnDevice<float> whole(values);
    const auto own = whole.view().slice(rank * count, count);
    exchange->all_gather<float>({Axis::world, "test"}, own, whole.view(), queue);
    std::vector<float> expected;
    for (std::int64_t i = 0; i < count * size; ++i) {
      const std::int64_t from = i / count;
      expected.push_back(float(from));
    }
    REQUIRE(whole.values() == expected);
    exchange->reduce_scatter<float>({Axis::world, "test"}, whole.view(), own, queue);
    const std::vector<float> scattered = whole.values();
    for (std::int64_t i = 0; i < count; ++i)
      REQUIRE(scattered[std::size_t(rank * count + i)] == float(rank * size));
  }
}

TEST_CASE("a sum of device memory has the same bits on every rank and every time") {
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const auto host = make_mpi_exchange(rig.cluster, mesh);
  const auto queue = rig.device.queue();
  const auto values = rough_numbers(20'000, rig.cluster.rank());
  auto expected = values;
  host->all_reduce<float>({Axis::world, "test"}, host_view(expected), Reduction::sum, {});
  for (const auto& exchange : rig.exchanges(mesh)) {
    const OnDevice<float> first(values), second(values);
    exchange->all_reduce<float>({Axis::world, "first"}, first.view(), Reduction::sum, queue);
    exchange->all_reduce<float>({Axis::world, "second"}, second.view(), Reduction::sum, queue);
    const std::vector<float> sums = first.values();
    REQUIRE(same_bits(second.values(), sums));
    const std::string bytes(reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(float));
    for (const std::string& other : rig.cluster.all_gather("sums", bytes)) REQUIRE(other == bytes);
    REQUIRE(test::relative_error(sums, expected) < 1e-6);
  }
}

TEST_CASE("through host memory sums are the host's, bit for bit; bf16 is rounded once") {
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const auto host = make_mpi_exchange(rig.cluster, mesh);
  const auto staged = make_staged_exchange(make_mpi_exchange(rig.cluster, mesh), {.segment_bytes = 4096});
  const auto queue = rig.device.queue();
  auto expected = rough_numbers(20'000, rig.cluster.rank());
  const OnDevice<float> sums(expected);
  staged->all_reduce<float>({Axis::world, "test"}, sums.view(), Reduction::sum, queue);
  host->all_reduce<float>({Axis::world, "test"}, host_view(expected), Reduction::sum, {});
  REQUIRE(same_bits(sums.values(), expected));

  // 256 + 1 is 256 in bf16 (8 bits): only a wider sum sees the ones.
  const OnDevice<bf16> narrow(std::vector<bf16>(3000, bf16(rig.cluster.rank() == 0 ? 256.0f : 1.0f)));
  staged->all_reduce<bf16>({Axis::world, "test"}, narrow.view(), Reduction::sum, queue);
  const bf16 once(256.0f + float(rig.cluster.size() - 1));
  for (const bf16 value : narrow.values()) REQUIRE(value.bits == once.bits);
}

TEMPLATE_TEST_CASE("rows of device memory move, and back with the counts swapped", "", float, bf16) {
  using T = TestType;
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const auto host = make_mpi_exchange(rig.cluster, mesh);
  const auto queue = rig.device.queue();
  constexpr std::int64_t kWidth = 5;
  for (const auto& exchange : rig.exchanges(mesh))
    for (const Axis axis : {Axis::world, Axis::expert, Axis::tensor}) {
      const std::int64_t degree = mesh.degree(axis), index = mesh.index(axis);
      // Index i sends (i * 3 + j * 50) % 401 rows to j; the first index sends nothing at all.
      const auto sent_by = [](std::int64_t i, std::int64_t j) { return i == 0 ? 0 : (i * 3 + j * 50) % 401; };
      std::vector<std::int64_t> sent, received, told(std::size_t(degree), -1);
      for (std::int64_t j = 0; j < degree; ++j) {
        sent.push_back(sent_by(index, j));
        received.push_back(sent_by(j, index));
      }
      exchange->swap_counts({axis, "test"}, sent, told);
      REQUIRE(told == received);

      auto x = numbers<T>(total(sent) * kWidth, rig.cluster.rank());
      std::vector<T> expected(std::size_t(total(received) * kWidth), T(0.0f));
      host->template all_to_all<T>(
          {axis, "test"}, {View<const T, 2, Space::host>(x.data(), {total(sent), kWidth}), sent},
          {View<T, 2, Space::host>(expected.data(), {total(received), kWidth}), received}, {});
      const OnDevice<T> from(x), arrived(total(received) * kWidth), back(total(sent) * kWidth);
      exchange->template all_to_all<T>({axis, "there"}, {from.rows(kWidth), sent},
                                       {arrived.rows(kWidth), received}, queue);
      exchange->template all_to_all<T>({axis, "back"}, {arrived.rows(kWidth), received},
                                       {back.rows(kWidth), sent}, queue);
      REQUIRE(same_bits(arrived.values(), expected));
      REQUIRE(same_bits(back.values(), x));

      const OnDevice<T> started(total(received) * kWidth), started_back(total(sent) * kWidth);
      auto there = exchange->template start_all_to_all<T>({axis, "there"}, {from.rows(kWidth), sent},
                                                          {started.rows(kWidth), received}, queue);
      auto home = exchange->template start_all_to_all<T>({axis, "back"}, {arrived.rows(kWidth), received},
                                                         {started_back.rows(kWidth), sent}, queue);
      home.wait(queue);
      there.wait(queue);
      exchange->wait({axis, "test"}, queue);
      REQUIRE(same_bits(started.values(), expected));
      REQUIRE(same_bits(started_back.values(), x));
    }
}

TEST_CASE("messages between device memories go round a ring, several on their way") {
  DeviceRig rig;
  const Mesh mesh(rig.cluster.size(), rig.cluster.rank(), {.context = rig.cluster.size()});
  const std::int64_t size = rig.cluster.size(), rank = rig.cluster.rank();
  const auto next = (rank + 1) % size, previous = (rank + size - 1) % size;
  const auto queue = rig.device.queue();
  for (const auto& exchange : rig.exchanges(mesh))
    for (const std::int64_t count : {std::int64_t{0}, std::int64_t{3}, std::int64_t{300'000}}) {
      const OnDevice<float> first(numbers<float>(count, rank)), got_first(count);
      const OnDevice<bf16> second(numbers<bf16>(count, 50 + rank)), got_second(count);
      auto on_its_way = exchange->start_messages<float>(
          {Axis::context, "first"},
          {.to = next, .sent = first.view(), .from = previous, .received = got_first.view()}, queue);
      auto another = exchange->start_messages<bf16>(
          {Axis::context, "second"},
          {.to = next, .sent = second.view(), .from = previous, .received = got_second.view()}, queue);
      on_its_way.wait(queue);
      another.wait(queue);
      exchange->wait({Axis::context, "test"}, queue);
      REQUIRE(same_bits(got_first.values(), numbers<float>(count, previous)));
      REQUIRE(same_bits(got_second.values(), numbers<bf16>(count, 50 + previous)));
    }
}

TEST_CASE("stages of a device pipeline announce what they receive before they send, both ways",
          "[parallel][gpu]") {
  DeviceRig rig;
  const std::int64_t size = rig.cluster.size(), rank = rig.cluster.rank(), count = 300'000;
  const Mesh mesh(size, rank, {.pipeline = size});
  const auto queue = rig.device.queue();
  const bool has_next = rank + 1 < size, has_previous = rank > 0;
  for (const auto& exchange : rig.exchanges(mesh)) {
    const OnDevice<float> stream(numbers<float>(count, rank)), gradient(numbers<float>(count, 50 + rank));
    const OnDevice<float> got_stream(count), got_gradient(count);
    std::vector<Pending<Space::device>> on_their_way;
    const auto start = [&](const Messages<float, Space::device>& messages) {
      on_their_way.push_back(exchange->start_messages<float>({Axis::pipeline, "test"}, messages, queue));
    };
    if (has_previous) start({.from = rank - 1, .received = got_stream.view()});
    if (has_next) start({.from = rank + 1, .received = got_gradient.view(), .lane = Lane::second});
    if (has_next) start({.to = rank + 1, .sent = stream.view()});
    if (has_previous) start({.to = rank - 1, .sent = gradient.view(), .lane = Lane::second});
    for (Pending<Space::device>& one : on_their_way) one.wait(queue);
    exchange->wait({Axis::pipeline, "test"}, queue);
    if (has_previous) REQUIRE(same_bits(got_stream.values(), numbers<float>(count, rank - 1)));
    if (has_next) REQUIRE(same_bits(got_gradient.values(), numbers<float>(count, 51 + rank)));
  }
}

TEST_CASE("sums and gathers of device memory go on beside what is queued") {
  DeviceRig rig;
  const Mesh mesh(rig.cluster.size(), rig.cluster.rank(), {});
  const std::int64_t size = rig.cluster.size(), rank = rig.cluster.rank(), count = 100'000;
  const auto queue = rig.device.queue();
  for (const auto& exchange : rig.exchanges(mesh)) {
    const OnDevice<float> whole(std::vector<float>(std::size_t(count * size), float(rank + 1)));
    const auto own = whole.view().slice(rank * count, count);
    auto sum = exchange->start_reduce_scatter<float>({Axis::data, "sum"}, whole.view(), own, queue);
    const OnDevice<double> beside(std::vector<double>{1});
    exchange->all_reduce<double>({Axis::world, "beside"}, beside.view(), Reduction::sum, queue);
    sum.wait(queue);
    exchange->start_all_gather<float>({Axis::data, "gather"}, own, whole.view(), queue).wait(queue);
    exchange->wait({Axis::world, "test"}, queue);
    const float expected = float(size * (size + 1) / 2);
    REQUIRE(whole.values() == std::vector<float>(std::size_t(count * size), expected));
    REQUIRE(beside.values() == std::vector<double>{double(size)});
  }
}

TEST_CASE("traffic of device memory is counted as the host's is") {
  DeviceRig rig;
  const Mesh mesh = rig.mesh();
  const std::int64_t size = rig.cluster.size();
  const auto exchange = make_device_exchange(rig.cluster, mesh, rig.placement);
  const auto queue = rig.device.queue();
  const OnDevice<float> part(std::int64_t{100}), whole(100 * size);
  exchange->all_gather<float>({Axis::world, "test"}, part.view(), whole.view(), queue);
  CHECK(exchange->traffic(Axis::world).bytes == 400 * (size - 1));
  CHECK(exchange->traffic(Axis::world).calls == (backend_of(rig.placement) == DeviceBackend::local ? 0 : 1));

  const OnDevice<double> values(std::vector<double>(std::size_t(1000 * size), 1.0));
  exchange->all_reduce<double>({Axis::world, "test"}, values.view(), Reduction::sum, queue);
  CHECK(exchange->traffic(Axis::world).bytes == (400 + 16'000) * (size - 1));
  exchange->wait({Axis::world, "test"}, queue);
}

TEST_CASE("a rank finds its GPU, and the log says how all of them lie") {
  DeviceRig rig;
  CHECK(rig.placement.index < kernels::device_count());
  CHECK(rig.placement.ranks == rig.cluster.size());
  const std::string text = describe(rig.placement);
  CAPTURE(text);
  CHECK(text.find(rig.device.name()) != std::string::npos);
  const auto kind = backend_of(rig.placement);
  CHECK((text.find("host memory") != std::string::npos) == (kind == DeviceBackend::staged));
  CHECK((text.find("NCCL 2.") != std::string::npos) == (kind == DeviceBackend::nccl));
}

}  // namespace moebius::parallel

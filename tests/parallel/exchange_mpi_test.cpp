#include <cstring>
#include <random>

#include "cluster/cluster.h"
#include "parallel/parallel.h"
#include "tests/support/catch.h"

namespace moebius::parallel {
namespace {

using cluster::Cluster;
using cluster::Degrees;
using cluster::Environment;
constexpr Queue<Space::host> kQueue{};

template <class T>
View<T, 1, Space::host> view(std::vector<T>& values) {
  return {values.data(), {std::int64_t(values.size())}};
}
template <class T>
View<T, 2, Space::host> rows(std::vector<T>& values, std::int64_t width) {
  return {values.data(), {std::int64_t(values.size()) / width, width}};
}

/// Whole numbers are summed exactly in every type, so laws hold without tolerance. bf16 has 8 bits.
template <class T>
std::vector<T> numbers(std::int64_t count, std::int64_t seed) {
  std::vector<T> values;
  std::mt19937 generator{std::uint32_t(seed)};
  for (std::int64_t i = 0; i < count; ++i) values.push_back(T(float(int(generator() % 15) - 7)));
  return values;
}

/// <a, b> over all ranks.
template <class T>
double product(Cluster& cluster, const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return cluster.all_reduce("product", sum, Reduction::sum);
}

/// Every mesh of tensor and expert degrees over this world.
template <class Check>
void on_every_mesh(Cluster& cluster, Check&& check) {
  for (std::int64_t tensor = 1; tensor <= cluster.size(); tensor *= 2)
    for (std::int64_t expert = 1; expert <= cluster.size(); expert *= 2) {
      if (cluster.size() % tensor != 0 || cluster.size() % expert != 0) continue;
      const auto exchange = make_mpi_exchange(
          cluster, Mesh(cluster.size(), cluster.rank(), {.tensor = tensor, .expert = expert}));
      check(*exchange);
    }
}

constexpr std::array kAxes{Axis::tensor, Axis::data, Axis::expert, Axis::expert_data, Axis::world};
// Empty, fewer elements than ranks, on both sides of "small", and several segments of a sum.
constexpr std::array<std::int64_t, 6> kCounts{0, 1, 3, 1000, 5003, 3'000'001};

}  // namespace

TEMPLATE_TEST_CASE("all_reduce sums and takes the maximum over the group", "", float, double, std::int32_t,
                   std::int64_t) {
  Cluster cluster{Environment()};
  on_every_mesh(cluster, [&](Exchange<Space::host>& exchange) {
    for (const Axis axis : kAxes)
      for (const std::int64_t count : {std::int64_t{0}, std::int64_t{3}, std::int64_t{5003}}) {
        auto sums = numbers<TestType>(count, cluster.rank()), greatest = sums;
        exchange.all_reduce({axis, "test"}, view(sums), Reduction::sum, kQueue);
        exchange.all_reduce({axis, "test"}, view(greatest), Reduction::max, kQueue);
        std::vector<TestType> expected_sums(std::size_t(count), 0),
            expected_greatest(std::size_t(count), -100);
        for (const std::int64_t rank : exchange.mesh().group(axis)) {
          const auto part = numbers<TestType>(count, rank);
          for (std::size_t i = 0; i < part.size(); ++i) {
            expected_sums[i] += part[i];
            expected_greatest[i] = std::max(expected_greatest[i], part[i]);
          }
        }
        REQUIRE(sums == expected_sums);
        REQUIRE(greatest == expected_greatest);
      }
  });
}

TEST_CASE("long sums go in segments") {
  Cluster cluster{Environment()};
  const auto exchange = make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {}));
  for (const std::int64_t count : kCounts) {
    auto sums = numbers<float>(count, cluster.rank());
    exchange->all_reduce({Axis::data, "test"}, view(sums), Reduction::sum, kQueue);
    std::vector<float> expected(std::size_t(count), 0);
    for (std::int64_t rank = 0; rank < cluster.size(); ++rank) {
      const auto part = numbers<float>(count, rank);
      for (std::size_t i = 0; i < part.size(); ++i) expected[i] += part[i];
    }
    REQUIRE(sums == expected);
  }
}

TEST_CASE("messages beyond the limit of one go in several") {
  Cluster cluster{Environment()};
  const Mesh mesh(cluster.size(), cluster.rank(), {});
  const auto whole = make_mpi_exchange(cluster, mesh);
  const auto cut =
      make_mpi_exchange(cluster, mesh, {.message_bytes = 100, .segment_bytes = 1500, .small_bytes = 8});
  const std::int64_t count = 1001, size = cluster.size();
  const auto result = [&](Exchange<Space::host>& exchange) {
    auto sums = numbers<float>(count, cluster.rank());
    std::vector<float> gathered(sums.size() * std::size_t(size)), scattered(sums.size()),
        moved(gathered.size());
    exchange.all_reduce({Axis::data, "test"}, view(sums), Reduction::sum, kQueue);
    exchange.all_gather<float>({Axis::data, "test"}, view(sums), view(gathered), kQueue);
    exchange.reduce_scatter<float>({Axis::data, "test"}, view(gathered), view(scattered), kQueue);
    const std::vector<std::int64_t> rows_each(std::size_t(size), count);
    exchange.all_to_all<float>({Axis::data, "test"}, {rows(gathered, 1), rows_each},
                               {rows(moved, 1), rows_each}, kQueue);
    return std::array{sums, gathered, scattered, moved};
  };
  REQUIRE(result(*whole) == result(*cut));
}

TEST_CASE("sums are made in the order of the index: the same bits on every rank, whole or in pieces") {
  Cluster cluster{Environment()};
  const std::int64_t count = 20'000;
  const auto exchange = make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {}));
  const auto part_of = [&](std::int64_t rank) {
    std::vector<float> values;
    std::mt19937 generator{std::uint32_t(rank)};
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(normal(generator) * (i % 3 == 0 ? 1e6f : 1e-3f));
    return values;
  };
  std::vector<float> expected = part_of(0);
  for (std::int64_t rank = 1; rank < cluster.size(); ++rank) {
    const auto next = part_of(rank);
    for (std::size_t i = 0; i < next.size(); ++i) expected[i] += next[i];
  }
  auto whole = part_of(cluster.rank()), pieces = whole;
  exchange->all_reduce({Axis::data, "whole"}, view(whole), Reduction::sum, kQueue);
  for (std::int64_t begin = 0; begin < count; begin += 777)
    exchange->all_reduce({Axis::data, "piece"},
                         view(pieces).slice(begin, std::min<std::int64_t>(777, count - begin)),
                         Reduction::sum, kQueue);
  REQUIRE(std::memcmp(whole.data(), expected.data(), whole.size() * sizeof(float)) == 0);
  REQUIRE(std::memcmp(pieces.data(), expected.data(), whole.size() * sizeof(float)) == 0);
}

TEST_CASE("bf16 is summed in fp32 and rounded once") {
  Cluster cluster{Environment()};
  const auto exchange = make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {}));
  // 256 + 1 is 256 in bf16 (8 bits): only a wider sum sees the ones.
  std::vector<bf16> values(3000, bf16(cluster.rank() == 0 ? 256.0f : 1.0f));
  exchange->all_reduce({Axis::data, "test"}, view(values), Reduction::sum, kQueue);
  const bf16 expected(256.0f + float(cluster.size() - 1));
  for (const bf16 value : values) REQUIRE(value.bits == expected.bits);
}

TEMPLATE_TEST_CASE("all_gather and reduce_scatter are adjoint", "", float, double, std::int64_t) {
  Cluster cluster{Environment()};
  on_every_mesh(cluster, [&](Exchange<Space::host>& exchange) {
    for (const Axis axis : kAxes)
      for (const std::int64_t count : {0, 1, 1001}) {
        const std::int64_t degree = exchange.mesh().degree(axis);
        auto x = numbers<TestType>(count, 1 + cluster.rank());
        auto dy = numbers<TestType>(count * degree, 100 + cluster.rank());
        std::vector<TestType> y(std::size_t(count * degree)), dx(std::size_t(count), TestType(1));
        exchange.all_gather<TestType>({axis, "test"}, view(x), view(y), kQueue);
        exchange.reduce_scatter<TestType>({axis, "test"}, view(dy), view(dx), kQueue);
        REQUIRE(product(cluster, dy, y) == product(cluster, dx, x));

        for (std::int64_t i = 0; i < degree; ++i) {
          const auto part = numbers<TestType>(count, 1 + exchange.mesh().group(axis)[std::size_t(i)]);
          REQUIRE(std::equal(part.begin(), part.end(), y.begin() + i * count));
        }
      }
  });
}

TEST_CASE("all_gather and reduce_scatter work in place") {
  Cluster cluster{Environment()};
  const auto exchange = make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {}));
  const std::int64_t count = 100, size = cluster.size(), rank = cluster.rank();
  std::vector<float> whole(std::size_t(count * size), -1);
  const auto own = view(whole).slice(rank * count, count);
  std::fill_n(own.data, count, float(rank));
  exchange->all_gather<float>({Axis::data, "test"}, own, view(whole), kQueue);
  for (std::int64_t i = 0; i < count * size; ++i) {
    const std::int64_t from = i / count;
    REQUIRE(whole[std::size_t(i)] == float(from));
  }
  exchange->reduce_scatter<float>({Axis::data, "test"}, view(whole), own, kQueue);
  for (std::int64_t i = 0; i < count; ++i) REQUIRE(own(i) == float(rank * size));
}

TEMPLATE_TEST_CASE(
    "sums and gathers that were started are those that are done at once, whatever comes between", "", float,
    bf16) {
  Cluster cluster{Environment()};
  on_every_mesh(cluster, [&](Exchange<Space::host>& exchange) {
    for (const std::int64_t count : {0, 1, 1001, 300'000}) {
      struct Under {
        std::vector<TestType> values, expected;
        Pending<Space::host> pending;
      };
      std::array<Under, 5> sums, gathers;  // of each of kAxes
      for (std::size_t a = 0; a < kAxes.size(); ++a) {
        const std::int64_t degree = exchange.mesh().degree(kAxes[a]), own = exchange.mesh().index(kAxes[a]);
        for (auto* under : {&sums[a], &gathers[a]})
          under->values = under->expected =
              numbers<TestType>(count * degree, std::int64_t(a) + 10 * cluster.rank());
        const auto own_of = [&](std::vector<TestType>& whole) {
          return view(whole).slice(own * count, count);
        };
        exchange.reduce_scatter<TestType>({kAxes[a], "test"}, view(sums[a].expected),
                                          own_of(sums[a].expected), kQueue);
        exchange.all_gather<TestType>({kAxes[a], "test"}, own_of(gathers[a].expected),
                                      view(gathers[a].expected), kQueue);
        sums[a].pending = exchange.start_reduce_scatter<TestType>({kAxes[a], "test"}, view(sums[a].values),
                                                                  own_of(sums[a].values), kQueue);
        gathers[a].pending = exchange.start_all_gather<TestType>(
            {kAxes[a], "test"}, own_of(gathers[a].values), view(gathers[a].values), kQueue);
      }
      const auto bits = [](TestType a, TestType b) { return std::memcmp(&a, &b, sizeof(a)) == 0; };
      for (std::size_t a = kAxes.size(); a-- > 0;) {  // in another order
        sums[a].pending.wait(kQueue);
        gathers[a].pending.wait(kQueue);
        const std::int64_t own = exchange.mesh().index(kAxes[a]) * count;
        REQUIRE(std::equal(sums[a].values.begin() + own, sums[a].values.begin() + own + count,
                           sums[a].expected.begin() + own, bits));
        REQUIRE(std::ranges::equal(gathers[a].values, gathers[a].expected, bits));
      }
    }
  });
}

TEST_CASE("a sum that was started sends what one that is done at once sends") {
  Cluster cluster{Environment()};
  const auto exchange = make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {}));
  std::vector<float> values(std::size_t(100 * cluster.size()));
  const auto own = view(values).slice(100 * cluster.rank(), 100);
  exchange->reduce_scatter<float>({Axis::data, "test"}, view(values), own, kQueue);
  const Traffic at_once = exchange->traffic(Axis::data);
  exchange->start_reduce_scatter<float>({Axis::data, "test"}, view(values), own, kQueue).wait(kQueue);
  exchange->start_all_gather<float>({Axis::data, "test"}, own, view(values), kQueue).wait(kQueue);
  CHECK(exchange->traffic(Axis::data).bytes == 3 * at_once.bytes);
  CHECK(exchange->traffic(Axis::data).calls == 3 * at_once.calls);
}

TEST_CASE("all_to_all moves rows, and back with the counts swapped; some ranks have none") {
  Cluster cluster{Environment()};
  on_every_mesh(cluster, [&](Exchange<Space::host>& exchange) {
    const std::int64_t degree = exchange.mesh().degree(Axis::expert),
                       index = exchange.mesh().index(Axis::expert);
    const std::int64_t width = 5;
    // Index i sends (i * 3 + j * 5) % 4 rows to j; the first index sends nothing at all.
    const auto sent_by = [&](std::int64_t i, std::int64_t j) { return i == 0 ? 0 : (i * 3 + j * 5) % 4; };
    std::vector<std::int64_t> sent, received, received_told(std::size_t(degree), -1);
    for (std::int64_t j = 0; j < degree; ++j) {
      sent.push_back(sent_by(index, j));
      received.push_back(sent_by(j, index));
    }
    exchange.swap_counts({Axis::expert, "test"}, sent, received_told);
    REQUIRE(received_told == received);

    const auto total = [](const std::vector<std::int64_t>& counts) {
      return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    };
    auto x = numbers<double>(total(sent) * width, cluster.rank());
    auto dy = numbers<double>(total(received) * width, 50 + cluster.rank());
    std::vector<double> y(dy.size()), dx(x.size());
    exchange.all_to_all<double>({Axis::expert, "test"}, {rows(x, width), sent}, {rows(y, width), received},
                                kQueue);
    exchange.all_to_all<double>({Axis::expert, "test"}, {rows(dy, width), received}, {rows(dx, width), sent},
                                kQueue);
    REQUIRE(product(cluster, dy, y) == product(cluster, dx, x));
    std::vector<double> again(x.size());
    exchange.all_to_all<double>({Axis::expert, "test"}, {rows(y, width), received},
                                {rows(again, width), sent}, kQueue);
    REQUIRE(again == x);
  });
}

TEST_CASE("rows that were started arrive as all_to_all brings them, other calls between") {
  Cluster cluster{Environment()};
  on_every_mesh(cluster, [&](Exchange<Space::host>& exchange) {
    const std::int64_t degree = exchange.mesh().degree(Axis::expert),
                       index = exchange.mesh().index(Axis::expert);
    const std::int64_t width = 5;
    const auto sent_by = [&](std::int64_t i, std::int64_t j) { return i == 0 ? 0 : (i * 300 + j * 5) % 401; };
    std::vector<std::int64_t> sent, received;
    for (std::int64_t j = 0; j < degree; ++j) {
      sent.push_back(sent_by(index, j));
      received.push_back(sent_by(j, index));
    }
    const std::int64_t leaving = std::accumulate(sent.begin(), sent.end(), std::int64_t{0});
    const std::int64_t arriving = std::accumulate(received.begin(), received.end(), std::int64_t{0});
    auto x = numbers<float>(leaving * width, cluster.rank());
    std::vector<float> expected(std::size_t(arriving * width)), first(expected.size()), back(x.size());
    const Call call{Axis::expert, "test"};
    exchange.all_to_all<float>(call, {rows(x, width), sent}, {rows(expected, width), received}, kQueue);
    const std::int64_t before = exchange.traffic(Axis::expert).bytes;

    auto there = exchange.start_all_to_all<float>(call, {rows(x, width), sent},
                                                  {rows(first, width), received}, kQueue);
    auto home = exchange.start_all_to_all<float>(call, {rows(expected, width), received},
                                                 {rows(back, width), sent}, kQueue);
    CHECK(exchange.traffic(Axis::expert).bytes ==
          2 * before + 4 * width * (arriving - received[std::size_t(index)]));
    std::vector<float> sum{1};
    exchange.all_reduce({Axis::expert, "beside"}, view(sum), Reduction::sum, kQueue);
    home.wait(kQueue);
    there.wait(kQueue);
    REQUIRE(sum[0] == float(degree));
    REQUIRE(first == expected);
    REQUIRE(back == x);
  });
}

TEST_CASE("messages go round a ring, several on their way, with collectives in between") {
  Cluster cluster{Environment()};
  const Mesh mesh(cluster.size(), cluster.rank(), {.context = cluster.size()});
  const std::int64_t size = cluster.size(), rank = cluster.rank();
  const auto next = (rank + 1) % size, previous = (rank + size - 1) % size;
  for (const std::int64_t limit : {std::int64_t{100}, std::int64_t{1} << 30})
    for (const std::int64_t count : {0, 3, 1001, 300'000}) {
      const auto exchange = make_mpi_exchange(cluster, mesh, {.message_bytes = limit});
      auto first = numbers<float>(count, rank), second = numbers<float>(count, 50 + rank);
      std::vector<float> got_first(first.size()), got_second(second.size());
      const auto start = [&](std::vector<float>& sent, std::vector<float>& received) {
        return exchange->start_messages<float>(
            {Axis::context, "test"},
            {.to = next, .sent = view(sent), .from = previous, .received = view(received)}, kQueue);
      };
      Pending<Space::host> on_its_way = start(first, got_first), another = start(second, got_second);
      std::vector<float> sum{1};
      exchange->all_reduce({Axis::context, "beside"}, view(sum), Reduction::sum, kQueue);
      another.wait(kQueue);
      on_its_way.wait(kQueue);
      on_its_way.wait(kQueue);  // nothing
      REQUIRE(sum[0] == float(size));
      REQUIRE(got_first == numbers<float>(count, previous));
      REQUIRE(got_second == numbers<float>(count, 50 + previous));
      CHECK(exchange->traffic(Axis::context).calls == (size == 1 ? 2 : 3));
      const std::int64_t beside = size == 1 ? 0 : 4 * (size - 1);
      CHECK(exchange->traffic(Axis::context).bytes == (size == 1 ? 0 : 8 * count) + beside);
    }
}

TEST_CASE("a message concerns its two ranks alone") {
  Cluster cluster{Environment()};
  const std::int64_t size = cluster.size(), rank = cluster.rank();
  const auto exchange = make_mpi_exchange(cluster, Mesh(size, rank, {.pipeline = size}));
  // Down the line of stages: what arrives goes on, one larger.
  std::vector<double> value{0};
  if (rank > 0)
    exchange
        ->start_messages<double>({Axis::pipeline, "test"}, {.from = rank - 1, .received = view(value)},
                                 kQueue)
        .wait(kQueue);
  value[0] += 1;
  if (rank + 1 < size)
    exchange->start_messages<double>({Axis::pipeline, "test"}, {.to = rank + 1, .sent = view(value)}, kQueue)
        .wait(kQueue);
  CHECK(value[0] == double(rank + 1));
}

TEST_CASE("sequence parallelism: gathering tokens and scattering their sum are adjoint") {
  Cluster cluster{Environment()};
  const auto exchange =
      make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {.tensor = cluster.size()}));
  const std::int64_t tokens = 6, width = 4, size = cluster.size();
  auto x = numbers<float>(tokens * width, cluster.rank());
  auto dy = numbers<float>(tokens * size * width, 10 + cluster.rank());
  std::vector<float> y(dy.size()), dx(x.size());
  gather_tokens<float>(*exchange, "test", rows(x, width), rows(y, width));
  scatter_sum_tokens<float>(*exchange, "test", rows(dy, width), rows(dx, width));
  CHECK(product(cluster, dy, y) == product(cluster, dx, x));
}

TEST_CASE("traffic counts what leaves this rank, by axis") {
  Cluster cluster{Environment()};
  const std::int64_t size = cluster.size();
  const auto exchange = make_mpi_exchange(cluster, Mesh(size, cluster.rank(), {}));
  std::vector<float> part(100), whole(std::size_t(100 * size));
  exchange->all_gather<float>({Axis::data, "test"}, view(part), view(whole), kQueue);
  CHECK(exchange->traffic(Axis::data).calls == 1);
  CHECK(exchange->traffic(Axis::data).bytes == 400 * (size - 1));
  CHECK(exchange->traffic(Axis::data).seconds > 0);
  CHECK(exchange->traffic(Axis::tensor).calls == 0);

  // A sum sends its parts and gathers the result: 2 (n - 1) / n of the message, as a ring does.
  const std::int64_t part_bytes = 64'000;
  std::vector<double> values(std::size_t(part_bytes / 8 * size), 1.0);
  exchange->all_reduce({Axis::data, "test"}, view(values), Reduction::sum, kQueue);
  CHECK(exchange->traffic(Axis::data).bytes ==
        400 * (size - 1) + (size > 1 ? 2 * part_bytes * (size - 1) : 0));
}

TEST_CASE("buffers of the wrong size are refused by name") {
  Cluster cluster{Environment()};
  const std::int64_t size = cluster.size();
  const auto exchange = make_mpi_exchange(cluster, Mesh(size, cluster.rank(), {}));
  std::vector<float> part(3), whole(std::size_t(3 * size + 1));
  const auto message = [&](auto&& call) {
    try {
      call();
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message([&] {
          exchange->all_gather<float>({Axis::data, "layers.0.x"}, view(part), view(whole), kQueue);
        }) == "layers.0.x: expected [" + std::to_string(3 * size) + "], got [" +
                  std::to_string(3 * size + 1) + "]");
  const std::vector<std::int64_t> counts(std::size_t(size), 3);
  CHECK(message([&] {
          exchange->all_to_all<float>({Axis::data, "layers.0.x"}, {rows(part, 1), counts},
                                      {rows(whole, 1), counts}, kQueue);
        }).find("layers.0.x: ") == 0);
  cluster.barrier("nobody waits");
}

}  // namespace moebius::parallel

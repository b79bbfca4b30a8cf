#include <cmath>
#include <random>

#include "cluster/cluster.h"
#include "models/memory.h"
#include "parallel/exchange_mpi.h"
#include "parallel/host_sum.h"
#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

// The same loss, gradients and logits on every mesh as on one rank. Each rank computes the whole answer
// alone as well, and compares its shards.

using namespace moebius;
using cluster::Axis;
using test::Approx;

namespace {

constexpr layers::AuxCoefficients kCoefficients{0.05, 0.01};
constexpr double kTolerance = 3e-5;  // of the largest entry: fp32 sums in another order, 3 layers deep

/// How a model lies over the ranks.
struct Layout {
  cluster::Degrees degrees;
  layers::Overlap overlap = layers::Overlap::none;
  kernels::Routing routing = kernels::Routing::learned;
};

std::vector<test::Packed> micro_batches(std::int64_t count, std::int64_t vocab) {
  std::mt19937 engine(11);
  std::vector<test::Packed> batches(static_cast<std::size_t>(count));
  for (test::Packed& packed : batches) {
    for (int sample = 0; sample < 2; ++sample) {
      test::Row row;
      const int length = 3 + int(engine() % 9);
      for (int t = 0; t < length; ++t) {
        row.ids.push_back(std::int32_t(engine() % std::uint32_t(vocab)));
        row.labels.push_back(engine() % 4 == 0 ? -100 : row.ids.back());
        row.loss_scale.push_back(0.5f + float(engine() % 3));
      }
      packed.append(row);
    }
  }
  return batches;
}

std::int64_t trained_in(const std::vector<test::Packed>& batches) {
  std::int64_t trained = 0;
  for (const test::Packed& packed : batches) {
    trained += std::ranges::count_if(packed.targets, [](std::int32_t target) { return target >= 0; });
  }
  return trained;
}

test::StepResult run(test::ModelRig& rig, const std::vector<test::Packed>& batches,
                     const cluster::Mesh& mesh) {
  const std::int64_t trained = trained_in(batches), degree = mesh.degree(Axis::data);
  const double share = 1 / double(batches.size());
  test::StepResult sum;
  // Every data rank makes the same number of calls: experts are shared between them.
  for (std::int64_t step = 0; step * degree < std::int64_t(batches.size()); ++step) {
    const auto index = std::size_t(step * degree + mesh.index(Axis::data));
    const test::Packed packed = index < batches.size() ? batches[index] : test::Packed{};
    const test::StepResult result =
        test::train_micro_batch(rig, packed, trained, {kCoefficients.aux * share, kCoefficients.z * share});
    sum.loss += result.loss, sum.aux += result.aux, sum.z += result.z;
  }
  return sum;
}

void check_gradients(test::ModelRig& rig, test::ModelRig& serial, parallel::Exchange<Space::host>& exchange) {
  for (std::size_t i = 0; i < rig.layout().count(); ++i) {
    const models::Parameter& parameter = rig.layout().table()[i];
    INFO(parameter.name);
    const auto shard = rig.gradients()[i];
    for (const Axis axis : models::gradient_axes(parameter)) {
      exchange.all_reduce({axis, parameter.name}, shard, parallel::Reduction::sum, {});
    }
    const auto whole = serial.gradients()[i];
    double largest = 0, difference = 0;
    for (std::int64_t e = 0; e < whole.size(); ++e) largest = std::max(largest, std::abs(double(whole(e))));
    for (const models::Run& stretch : models::runs_of(parameter, rig.layout().row(i).slab)) {
      for (std::int64_t e = 0; e < stretch.count; ++e) {
        difference = std::max(difference,
                              std::abs(double(shard(stretch.local + e)) - double(whole(stretch.whole + e))));
      }
    }
    REQUIRE(largest > 0);
    REQUIRE(difference <= kTolerance * largest);
  }
}

void check_training(const models::ModelConfig& config, cluster::Cluster& cluster, const Layout& lies) {
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), lies.degrees);
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  const auto alone = parallel::make_local_exchange<Space::host>();
  INFO(config.family << " on " << mesh.text());
  test::ModelRig rig(config, *exchange, {.longest = 512, .routing = lies.routing, .overlap = lies.overlap}),
      serial(config, *alone, {.longest = 512, .routing = lies.routing});
  for (const std::int64_t count : {8, 3}) {  // 3: some data ranks have a micro batch less
    rig.clear_gradients(), serial.clear_gradients();
    const auto batches = micro_batches(count, config.vocab);
    const test::StepResult expected = run(serial, batches, cluster::Mesh());
    const test::StepResult part = run(rig, batches, mesh);
    std::array sums{part.loss, part.aux, part.z};
    parallel::sum_on_host(*exchange, {Axis::context, "loss"}, std::span(sums).first(1));
    parallel::sum_on_host(*exchange, {Axis::data, "losses"}, sums);
    CHECK(sums[0] == Approx(expected.loss).epsilon(1e-5));
    CHECK(sums[1] == Approx(expected.aux).epsilon(1e-5));
    CHECK(sums[2] == Approx(expected.z).epsilon(1e-5));
    check_gradients(rig, serial, *exchange);
  }
}

/// Logits of three sequences that grow by turns; every second data rank has nothing to do.
void check_decoding(const models::ModelConfig& config, cluster::Cluster& cluster, const Layout& lies) {
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), lies.degrees);
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  const auto alone = parallel::make_local_exchange<Space::host>();
  INFO(config.family << " on " << mesh.text());
  test::ModelRig rig(config, *exchange, {.longest = 512, .overlap = lies.overlap}), serial(config, *alone);
  Arena<Space::host> memory("caches");
  auto cache = rig.decoder().make_cache(3, 16, memory);
  auto serial_cache = serial.decoder().make_cache(3, 16, memory);
  const bool rests = mesh.index(Axis::data) % 2 == 1;
  const std::vector<std::vector<std::vector<std::int32_t>>> steps{
      {{3}, {1, 2, 3, 4, 5}, {9, 8}}, {{4}, {}, {7}}, {{5}, {6}, {1}}};
  std::vector<float> logits(std::size_t(3 * config.vocab)), expected(logits.size());
  for (const auto& fed : steps) {
    const std::vector<std::vector<std::int32_t>> nothing(3);
    serial.decoder().decode(fed, serial_cache, {expected.data(), {3, config.vocab}});
    rig.decoder().decode(rests ? nothing : fed, cache, {logits.data(), {3, config.vocab}});
    for (std::size_t i = 0; i < logits.size(); ++i) {
      REQUIRE(logits[i] == Approx(rests ? 0 : expected[i]).margin(2e-4));
    }
  }
}

const models::AdapterSettings kAdapter{.rank = 3, .dropout = 0.1, .targets = {"all-linear", "all-router"}};

/// 128 tokens and even routing: every rank's experts get what the formula expects, of each half of the tokens
/// too.
void check_memory_with(const models::MemoryFormat& format, const models::ModelConfig& config,
                       parallel::Exchange<Space::host>& exchange) {
  INFO(config.family << " on " << exchange.mesh().text() << ", recompute " << int(format.recompute) << " of "
                     << format.group_layers << " layers");
  test::ModelRig rig(config, exchange,
                     {.longest = 128,
                      .routing = kernels::Routing::even,
                      .overlap = format.overlap,
                      .recompute = format.recompute,
                      .group_layers = format.group_layers},
                     {}, format.adapter);
  test::Row row;
  for (int t = 0; t < 128; ++t) row.ids.push_back(t % 40);
  row.labels = row.ids;
  test::Packed packed;
  packed.append(row);
  test::train_micro_batch(rig, packed, 1);
  const models::ModelMemory memory = models::training_memory(
      config, exchange.mesh(), {.tokens = 128, .targets = 127, .routing = kernels::Routing::even}, 128,
      format);
  CHECK(rig.activations().peak_bytes() == memory.activations + memory.lists);
  CHECK(rig.remade().peak_bytes() == memory.remade);
  // The formula takes the largest of the shares of an uneven vocabulary.
  CHECK(rig.workspace().peak_bytes() <= memory.workspace);
  CHECK(rig.workspace().peak_bytes() >= memory.workspace - std::int64_t{4} * 128 * 3);
}

void check_memory(const models::ModelConfig& config, cluster::Cluster& cluster, const Layout& lies) {
  using models::Recompute;
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), lies.degrees);
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  for (models::MemoryFormat format : {models::MemoryFormat{},
                                      {.recompute = Recompute::selective},
                                      {.recompute = Recompute::full},
                                      {.recompute = Recompute::full, .group_layers = 2},
                                      {.adapter = kAdapter},
                                      {.recompute = Recompute::selective, .adapter = kAdapter}}) {
    format.overlap = lies.overlap;
    check_memory_with(format, config, *exchange);
  }
}

/// What one micro batch gives, bit for bit.
struct Bits {
  test::StepResult result;
  std::vector<float> gradients;
};
Bits bits_with(const test::ModelRig::Options& options, const models::ModelConfig& config,
               parallel::Exchange<Space::host>& exchange) {
  test::ModelRig rig(config, exchange, options);
  const auto batches = micro_batches(exchange.mesh().degree(Axis::data), config.vocab);
  const test::Packed& own = batches[std::size_t(exchange.mesh().index(Axis::data))];
  const test::StepResult result = test::train_micro_batch(rig, own, trained_in(batches), kCoefficients);
  return {result, rig.host_gradients()};
}

/// Layers that are made again are what they were: rows travel between ranks a second time.
void check_recompute(const models::ModelConfig& config, cluster::Cluster& cluster, const Layout& lies) {
  using models::Recompute;
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), lies.degrees);
  const auto exchange = parallel::make_mpi_exchange(cluster, mesh);
  INFO(config.family << " on " << mesh.text());
  test::ModelRig::Options options{.longest = 32, .overlap = lies.overlap};
  const Bits kept = bits_with(options, config, *exchange);
  for (const auto& [recompute, group_layers] :
       {std::pair{Recompute::selective, 1}, {Recompute::full, 1}, {Recompute::full, 2}}) {
    options.recompute = recompute, options.group_layers = group_layers;
    const Bits remade = bits_with(options, config, *exchange);
    CHECK(remade.result.loss == kept.result.loss);
    CHECK(remade.result.aux == kept.result.aux);
    CHECK(remade.result.z == kept.result.z);
    CHECK(remade.gradients == kept.gradients);
  }
}

/// Two powers of 2 that `size` ranks can have, in every way.
std::vector<std::array<std::int64_t, 2>> degree_pairs(std::int64_t size) {
  std::vector<std::array<std::int64_t, 2>> pairs;
  for (std::int64_t first = 1; first <= size; first *= 2) {
    for (std::int64_t second = 1; first * second <= size; second *= 2) pairs.push_back({first, second});
  }
  return pairs;
}

template <class Check>
void on_every_mesh(const Check& check) {
  cluster::Cluster cluster{cluster::Environment()};
  const auto pairs = degree_pairs(cluster.size());
  for (const models::ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    for (const auto& [tensor, context] : pairs) {
      for (const auto& [expert, width] : pairs) {
        const cluster::Degrees degrees{
            .tensor = tensor, .context = context, .expert = expert, .expert_tensor = width};
        if (!models::check_mesh(config, degrees).empty()) continue;
        check(config, cluster, {degrees, layers::Overlap::none});
        if (expert > 1) check(config, cluster, {degrees, layers::Overlap::halves});
      }
    }
  }
}

}  // namespace

TEST_CASE("loss and gradients are the same on every mesh", "[models][mpi]") {
  on_every_mesh(check_training);
}

TEST_CASE("even routing sends a token to the same experts on every mesh", "[models][mpi]") {
  on_every_mesh([](const models::ModelConfig& config, cluster::Cluster& cluster, Layout lies) {
    lies.routing = kernels::Routing::even;
    if (config.experts > 0) check_training(config, cluster, lies);
  });
}

TEST_CASE("logits of decoding are the same on every mesh", "[models][mpi]") {
  on_every_mesh(check_decoding);
}

TEST_CASE("the memory formula is what the arenas report on every mesh", "[models][mpi]") {
  on_every_mesh(check_memory);
}

TEST_CASE("what is made again is bit for bit what was not kept, on every mesh", "[models][mpi]") {
  on_every_mesh(check_recompute);
}

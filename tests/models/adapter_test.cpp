#include "models/adapter.h"

#include <cmath>
#include <random>

#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::models;
using test::Approx;

namespace {

const AdapterSettings kEverything{.rank = 3, .alpha = 6, .targets = {"all-linear", "all-router"}};

const Parameter* find_row(const ParameterTable& table, const std::string& name) {
  const auto found = std::ranges::find(table, name, &Parameter::name);
  return found == table.end() ? nullptr : &*found;
}

test::Packed two_rows(std::int64_t vocab) {
  std::mt19937 engine(4);
  test::Packed packed;
  for (const int length : {9, 6}) {
    test::Row row;
    for (int t = 0; t < length; ++t) row.ids.push_back(std::int32_t(engine() % std::uint32_t(vocab)));
    row.labels = row.ids;
    packed.append(row);
  }
  return packed;
}

/// One factor pair beside its weight, as matrices in one buffer each: matrix `index` of `count`.
struct Pair {
  std::size_t a, b, weight;  // rows of the adapter's layout and of the model's
  std::int64_t out, in, rank;
  std::int64_t count, part, parts;  // experts; which of the modules in the weight

  [[nodiscard]] std::int64_t weight_begin(std::int64_t expert) const {
    return (expert * parts + part) * out * in;
  }
};

std::vector<Pair> pairs_of(const ParameterTable& model, const ParameterTable& adapter) {
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < adapter.size(); i += 2) {
    std::string weight = adapter[i].name.substr(0, adapter[i].name.size() - 2);
    std::string module;
    if (find_row(model, weight) == nullptr) {
      module = weight.substr(weight.rfind('.') + 1);
      weight = weight.substr(0, weight.rfind('.'));
    }
    const auto found = std::ranges::find(model, weight, &Parameter::name);
    const std::vector<std::int64_t>&a = adapter[i].shape, &b = adapter[i + 1].shape;
    pairs.push_back({.a = i,
                     .b = i + 1,
                     .weight = std::size_t(found - model.begin()),
                     .out = b[b.size() - 2],
                     .in = a.back(),
                     .rank = b.back(),
                     .count = a.size() == 3 ? a.front() : 1,
                     .part = module == "up_proj" ? 1 : 0,
                     .parts = module.empty() ? 1 : 2});
  }
  return pairs;
}

/// A model whose factors are random, and one whose weights have taken them in.
struct Twins {
  explicit Twins(const ModelConfig& config, const test::ModelRig::Options& options = {.longest = 32},
                 const AdapterSettings& settings = kEverything)
      : exchange(parallel::make_local_exchange<Space::host>()),
        adapted(config, *exchange, options, {}, settings),
        merged(config, *exchange, {.longest = 32}),
        pairs(pairs_of(merged.layout().table(), adapted.layout().table())) {
    std::mt19937 engine(11);
    std::normal_distribution<float> normal(0, 0.2f);
    for (float& value : std::span(adapted.weights().flat().data, std::size_t(adapted.layout().size())))
      value = normal(engine);
    for (const Pair& pair : pairs) merge(pair);
  }
  void merge(const Pair& pair) {
    for (std::int64_t e = 0; e < pair.count; ++e) {
      const float* a = adapted.weights()[pair.a].data + e * pair.rank * pair.in;
      const float* b = adapted.weights()[pair.b].data + e * pair.out * pair.rank;
      float* w = merged.weights()[pair.weight].data + pair.weight_begin(e);
      for (std::int64_t o = 0; o < pair.out; ++o) {
        for (std::int64_t i = 0; i < pair.in; ++i) {
          double sum = 0;
          for (std::int64_t r = 0; r < pair.rank; ++r)
            sum += double(b[o * pair.rank + r]) * double(a[r * pair.in + i]);
          w[o * pair.in + i] = float(double(w[o * pair.in + i]) + kEverything.scale() * sum);
        }
      }
    }
  }

  std::unique_ptr<parallel::Exchange<Space::host>> exchange;
  test::ModelRig adapted, merged;
  std::vector<Pair> pairs;
};

double largest_of(View<const float, 1, Space::host> values) {
  double largest = 0;
  for (std::int64_t i = 0; i < values.size(); ++i) largest = std::max(largest, std::abs(double(values(i))));
  return largest;
}

/// da = scale b^T dw and db = scale dw a^T, in double.
void check_gradients(const Twins& twins, const Pair& pair) {
  const double tolerance = 2e-5 * (largest_of(twins.adapted.gradients()[pair.a]) +
                                   largest_of(twins.adapted.gradients()[pair.b]) + 1e-3);
  for (std::int64_t e = 0; e < pair.count; ++e) {
    const float* dw = twins.merged.gradients()[pair.weight].data + pair.weight_begin(e);
    const float* a = twins.adapted.weights()[pair.a].data + e * pair.rank * pair.in;
    const float* b = twins.adapted.weights()[pair.b].data + e * pair.out * pair.rank;
    const float* da = twins.adapted.gradients()[pair.a].data + e * pair.rank * pair.in;
    const float* db = twins.adapted.gradients()[pair.b].data + e * pair.out * pair.rank;
    double worst = 0;
    for (std::int64_t r = 0; r < pair.rank; ++r) {
      for (std::int64_t i = 0; i < pair.in; ++i) {
        double sum = 0;
        for (std::int64_t o = 0; o < pair.out; ++o)
          sum += double(b[o * pair.rank + r]) * double(dw[o * pair.in + i]);
        worst = std::max(worst, std::abs(kEverything.scale() * sum - double(da[r * pair.in + i])));
      }
      for (std::int64_t o = 0; o < pair.out; ++o) {
        double sum = 0;
        for (std::int64_t i = 0; i < pair.in; ++i)
          sum += double(dw[o * pair.in + i]) * double(a[r * pair.in + i]);
        worst = std::max(worst, std::abs(kEverything.scale() * sum - double(db[o * pair.rank + r])));
      }
    }
    INFO(twins.adapted.layout().table()[pair.a].name << " of expert " << e);
    CHECK(worst < tolerance);
  }
}

}  // namespace

TEST_CASE("an adapter's table has two factors for every chosen layer", "[models][adapter]") {
  const ParameterTable model = parameter_table(test::tiny_moe());
  const ParameterTable table =
      adapter_table(model, {.rank = 4, .targets = {"q_proj", "o_proj", "gate_proj"}});
  CHECK(table.size() == 18);  // two factors of three weights in three layers
  const Parameter& a = *find_row(table, "layers.0.attention.q.a");
  CHECK(a.hub == std::vector<std::string>{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"});
  CHECK(a.shape == std::vector<std::int64_t>{4, 24});
  CHECK(a.splits.empty());
  CHECK(find_row(table, "layers.0.attention.q.b")->splits.front().dim == 0);
  CHECK(find_row(table, "layers.0.attention.o.a")->splits.front().dim == 1);
  CHECK(find_row(table, "layers.0.attention.o.b")->splits.empty());
  CHECK(find_row(table, "layers.1.mlp.gate_up.gate_proj.b")->shape == std::vector<std::int64_t>{40, 4});
  const Parameter& expert = *find_row(table, "layers.2.experts.gate_up.gate_proj.b");
  CHECK(expert.shape == std::vector<std::int64_t>{8, 12, 4});
  REQUIRE(expert.splits.size() == 2);
  CHECK(expert.splits[0].axis == Axis::expert);
  CHECK((expert.splits[1].axis == Axis::expert_tensor && expert.splits[1].dim == 1));
  CHECK(hub_tensors(expert)[7].name ==
        "base_model.model.model.layers.2.mlp.experts.7.gate_proj.lora_B.weight");
  for (const Parameter& parameter : table) CHECK(parameter.decay == Decay::yes);
}

TEST_CASE("targets are ends of names, whole names, patterns or words", "[models][adapter]") {
  const ParameterTable model = parameter_table(test::tiny_moe());
  const auto count = [&](const std::vector<std::string>& targets) {
    CHECK(target_problems(model, targets).empty());
    return adapter_table(model, {.targets = targets}).size() / 2;
  };
  CHECK(count({"all-linear"}) == 3 * 4 + 3 + 2 * 3);
  CHECK(count({"all-linear", "all-router"}) == 3 * 4 + 3 + 2 * 3 + 2);
  CHECK(count({"gate"}) == 2);
  CHECK(count({"self_attn.k_proj"}) == 3);
  CHECK(count({"model.layers.1.self_attn.k_proj"}) == 1);
  CHECK(count({"layers.?.self_attn.*"}) == 12);
  CHECK(count({"mlp.experts.*"}) == 6);
  CHECK(target_modules(model, {"all-linear"}) == std::vector<std::string>{"down_proj", "gate_proj", "k_proj",
                                                                          "o_proj", "q_proj", "up_proj",
                                                                          "v_proj"});
  CHECK(target_modules(model, {"model.layers.1.self_attn.k_proj"}) ==
        std::vector<std::string>{"model.layers.1.self_attn.k_proj"});
}

TEST_CASE("targets that mean nothing, too little or too much are named", "[models][adapter]") {
  const ParameterTable model = parameter_table(test::tiny_moe());
  const auto problem = [&](const std::vector<std::string>& targets) {
    const auto problems = target_problems(model, targets);
    REQUIRE(problems.size() == 1);
    return problems.front();
  };
  CHECK(problem({"q_proj", "query"})
            .starts_with("'query' is no linear layer of the model (there are all-linear"));
  CHECK(problem({"embed_tokens"}).starts_with("'embed_tokens' means 'model.embed_tokens'"));
  CHECK(problem({"layers.0.mlp.experts.3.down_proj"}).starts_with("means 1 of 8 experts"));
  CHECK(problem({}).starts_with("is empty"));
}

TEST_CASE("an adapted model is the one whose weights took the factors in", "[models][adapter]") {
  for (const ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    Twins twins(config);
    const test::Packed packed = two_rows(config.vocab);
    const layers::AuxCoefficients coefficients{0.5, 0.1};
    const test::StepResult ours = test::train_micro_batch(twins.adapted, packed, 13, coefficients),
                           theirs = test::train_micro_batch(twins.merged, packed, 13, coefficients);
    CHECK(ours.loss == Approx(theirs.loss).epsilon(1e-5));
    CHECK(ours.z == Approx(theirs.z).epsilon(1e-5));
    for (const Pair& pair : twins.pairs) check_gradients(twins, pair);
  }
}

// As for a whole model (decoder_test.cpp): steps and seeds are such that no assignment moves.
TEST_CASE("gradients with dropout match central differences", "[models][adapter]") {
  AdapterSettings settings = kEverything;
  settings.dropout = 0.3;
  for (const ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    Twins twins(config, {.longest = 32}, settings);
    test::ModelRig& rig = twins.adapted;
    const test::Packed packed = two_rows(config.vocab);
    const layers::AuxCoefficients coefficients{0, 0.1};
    const double with = test::train_micro_batch(rig, packed, 13, coefficients).loss;
    CHECK(with != Approx(test::train_micro_batch(twins.merged, packed, 13).loss).epsilon(1e-3));
    std::mt19937 engine(4);
    for (std::size_t i = 0; i < rig.layout().count(); ++i) {
      for (int draw = 0; draw < 3; ++draw) {
        const std::int64_t element = std::int64_t(engine() % std::uint64_t(rig.layout().row(i).size));
        float& weight = rig.weights()[i](element);
        const float saved = weight, step = 1e-3f;
        weight = saved + step;
        const double above = test::whole_loss(rig, packed, 13, coefficients);
        weight = saved - step;
        const double below = test::whole_loss(rig, packed, 13, coefficients);
        weight = saved;
        INFO(rig.layout().table()[i].name << "[" << element << "]");
        CHECK(double(rig.gradients()[i](element)) ==
              Approx((above - below) / (2 * double(step))).margin(2e-3).epsilon(0.01));
      }
    }
  }
}

TEST_CASE("recompute changes no bit of an adapter's gradients", "[models][adapter]") {
  const test::Packed packed = two_rows(61);
  AdapterSettings settings = kEverything;
  settings.dropout = 0.3;
  const auto gradients = [&](const test::ModelRig::Options& options) {
    Twins twins(test::tiny_moe(), options, settings);
    (void)test::train_micro_batch(twins.adapted, packed, 13);
    return twins.adapted.host_gradients();
  };
  const std::vector<float> kept = gradients({.longest = 32});
  CHECK(std::ranges::any_of(kept, [](float g) { return g != 0; }));
  CHECK(gradients({.longest = 32, .recompute = Recompute::selective}) == kept);
  CHECK(gradients({.longest = 32, .recompute = Recompute::full}) == kept);
}

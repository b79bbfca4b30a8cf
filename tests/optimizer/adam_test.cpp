#include "optimizer/adam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "optimizer/gradient_norm.h"
#include "tensor/random.h"
#include "tests/optimizer/tables.h"
#include "tests/support/catch.h"

using namespace moebius;
using test::Approx;
using Shards = models::Shards<float, Space::host>;

namespace {

struct Model {  // weights and gradients of the small table on one rank
  models::Mesh mesh;
  models::ShardLayout layout{test::small_table(), mesh};
  models::Ownership ownership{layout, mesh};
  Arena<Space::host> arena{"test"};
  Shards weights{layout, arena}, gradients{layout, arena};
  std::unique_ptr<parallel::Exchange<Space::host>> exchange = parallel::make_local_exchange<Space::host>();
  Staging<Space::host> staging{"staging"};

  [[nodiscard]] models::WeightState<float, Space::host> state() const {
    return {.weights = weights, .master = {}, .remainder = {}};
  }
  optimizer::StepResult step(optimizer::Adam<HostFp32>& adam, const optimizer::StepValues& values) {
    return adam.step(values, state(), gradients, staging).result();
  }

  Model() {
    models::initialise(weights, 1);
    clear_gradients();
  }
  void clear_gradients() { std::fill_n(gradients.flat().data, gradients.flat().size(), 0.f); }
  void draw_gradients(std::uint32_t step) {
    const Random random{7, RandomStream::sampling, step};
    for (std::size_t row = 0; row < layout.count(); ++row) {
      for (std::int64_t i = 0; i < gradients[row].size(); ++i)
        gradients[row](i) = float(random.normal(std::uint64_t(layout.row(row).offset + i)));
    }
  }
};

/// Textbook AdamW in double, one element at a time, on the same table.
struct Reference {
  std::vector<double> w, m, v;
  explicit Reference(const Shards& weights)
      : w(weights.flat().data, weights.flat().data + weights.flat().size()), m(w.size()), v(w.size()) {}

  void step(const Model& model, const optimizer::AdamSettings& settings, double lr, int k) {
    double square = 0;
    for (std::size_t i = 0; i < w.size(); ++i) square += std::pow(model.gradients.flat()(std::int64_t(i)), 2);
    const double clip = std::min(1.0, settings.clip_norm / (std::sqrt(square) + 1e-6));
    for (std::size_t row = 0; row < model.layout.count(); ++row) {
      const bool decays = model.layout.table()[row].shape.size() > 1;
      const auto begin = std::size_t(model.layout.row(row).offset);
      for (std::size_t i = begin; i < begin + std::size_t(model.layout.row(row).size); ++i) {
        const double g = clip * model.gradients.flat()(std::int64_t(i));
        m[i] = settings.beta1 * m[i] + (1 - settings.beta1) * g;
        v[i] = settings.beta2 * v[i] + (1 - settings.beta2) * g * g;
        const double m_hat = m[i] / (1 - std::pow(settings.beta1, k));
        const double v_hat = v[i] / (1 - std::pow(settings.beta2, k));
        w[i] -= lr * (decays ? settings.weight_decay * w[i] : 0);
        w[i] -= lr * m_hat / (std::sqrt(v_hat) + settings.epsilon);
      }
    }
  }
};

std::vector<float> copy_of(const Shards& shards) {
  return {shards.flat().data, shards.flat().data + shards.flat().size()};
}

}  // namespace

TEST_CASE("ten steps agree with AdamW in double", "[optimizer][adam]") {
  Model model;
  const optimizer::AdamSettings settings{.clip_norm = 5};
  optimizer::Adam<HostFp32> adam(model.ownership, settings, *model.exchange, model.arena);
  Reference reference(model.weights);
  for (int k = 1; k <= 10; ++k) {
    const double lr = 0.01 / k;
    model.draw_gradients(std::uint32_t(k));
    reference.step(model, settings, lr, k);
    const auto result = model.step(adam, {.iteration = k - 1, .lr = lr});
    CHECK(result.is_finite());
    CHECK(result.gradient_norm > settings.clip_norm);  // so that it is clipped
  }
  for (std::size_t row = 0; row < model.layout.count(); ++row) {
    const std::int64_t offset = model.layout.row(row).offset;
    for (std::int64_t i = 0; i < model.weights[row].size(); ++i) {
      REQUIRE(model.weights[row](i) == Approx(reference.w[std::size_t(offset + i)]).margin(2e-7));
      REQUIRE(adam.moments().exp_avg.flat<float>()(offset + i) ==
              Approx(reference.m[std::size_t(offset + i)]).margin(1e-7));
    }
  }
}

TEST_CASE("a gradient scale acts as if the gradients had been divided before", "[optimizer][adam]") {
  Model scaled, plain;
  optimizer::Adam<HostFp32> adam_scaled(scaled.ownership, {}, *scaled.exchange, scaled.arena);
  optimizer::Adam<HostFp32> adam_plain(plain.ownership, {}, *plain.exchange, plain.arena);
  scaled.draw_gradients(3), plain.draw_gradients(3);
  for (std::int64_t i = 0; i < scaled.gradients.flat().size(); ++i) scaled.gradients.flat()(i) *= 64;
  const auto a = scaled.step(adam_scaled, {.lr = 0.1, .gradient_scale = 1. / 64});
  const auto b = plain.step(adam_plain, {.lr = 0.1});
  CHECK(a.gradient_norm == Approx(b.gradient_norm).epsilon(1e-12));
  CHECK(copy_of(scaled.weights) == copy_of(plain.weights));  // 64 is a power of two: exact
}

TEST_CASE("with a learning rate of 0 the moments move and the weights do not", "[optimizer][adam]") {
  Model model;
  optimizer::Adam<HostFp32> adam(model.ownership, {}, *model.exchange, model.arena);
  const auto before = copy_of(model.weights);
  model.draw_gradients(1);
  (void)model.step(adam, {.lr = 0});
  CHECK(copy_of(model.weights) == before);
  CHECK(adam.moments().exp_avg.flat<float>()(0) != 0);
  CHECK(adam.moments().exp_avg_sq.flat<float>()(0) > 0);
}

TEST_CASE("a gradient that is not a number changes nothing and is reported", "[optimizer][adam]") {
  Model model;
  optimizer::Adam<HostFp32> adam(model.ownership, {}, *model.exchange, model.arena);
  const auto before = copy_of(model.weights);
  model.draw_gradients(1);
  model.gradients[5](3) = GENERATE(std::numeric_limits<float>::quiet_NaN(), -INFINITY);
  CHECK_FALSE(model.step(adam, {.lr = 1}).is_finite());
  CHECK(copy_of(model.weights) == before);
  CHECK(adam.moments().exp_avg.flat<float>()(0) == 0);
}

TEST_CASE("the norm counts every element of the table once", "[optimizer][norm]") {
  Model model;
  double elements = 0;
  for (std::size_t row = 0; row < model.layout.count(); ++row) {
    for (std::int64_t i = 0; i < model.gradients[row].size(); ++i) model.gradients[row](i) = 2;
    elements += double(model.layout.table()[row].size());
  }
  double squares = 0;
  optimizer::add_squares<float, Space::host>({model.ownership, model.gradients, {&squares, {1}}},
                                             *model.exchange, {});
  CHECK(squares == Approx(4 * elements).epsilon(1e-14));
}

TEST_CASE("what tensor ranks hold whole is summed over them, neighbours as one range",
          "[optimizer][gradients]") {
  const Model model;
  const auto ranges = optimizer::summed_ranges(model.ownership, 1 << 20);
  const auto row = [&](std::size_t index) {
    const auto& found = model.layout.row(index);
    return Range{found.offset, found.offset + found.size};
  };
  REQUIRE(ranges.size() == 3);  // norm, router and final_norm are no neighbours
  for (const auto& range : ranges) CHECK(range.axis == models::Axis::tensor);
  CHECK(ranges[0].elements == row(1));
  CHECK(ranges[1].elements == row(4));
  CHECK(ranges[2].elements == row(7));

  auto table = test::small_table();
  table.insert(table.begin() + 1, table[1]);
  table[1].name = "other_norm";
  const models::ShardLayout layout(table, models::Mesh());
  const auto joined = optimizer::summed_ranges(models::Ownership(layout, models::Mesh()), 1 << 20);
  REQUIRE(joined.size() == 3);
  CHECK(joined[0].elements == Range{layout.row(1).offset, layout.row(2).offset + layout.row(2).size});
}

TEST_CASE("a long range is summed in bounded parts", "[optimizer][gradients]") {
  const Model model;
  std::int64_t whole = 0, parts = 0;
  for (const auto& range : optimizer::summed_ranges(model.ownership, 1 << 20)) whole += range.elements.size();
  for (const auto& range : optimizer::summed_ranges(model.ownership, 5)) {
    CHECK(range.elements.size() <= 5);
    parts += range.elements.size();
  }
  CHECK(parts == whole);
}

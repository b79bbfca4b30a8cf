#include "models/weight_state.h"

#include "tensor/convert.h"
#include "tests/models/weight_cases.h"
#include "tests/support/catch.h"

using namespace moebius;
using models::Run;
using models::Truth;

namespace {

constexpr Queue<Space::host> kHost;

template <class T>
using Weights = test::OwnedWeights<T, Space::host>;

/// Where a run's elements are found in a stripe's part, one index pair an element.
std::vector<std::array<std::int64_t, 2>> places_of(const std::vector<models::Stripe>& stripes) {
  std::vector<std::array<std::int64_t, 2>> places;
  for (const models::Stripe& stripe : stripes) {
    for (std::int64_t row = 0; row < stripe.rows; ++row) {
      for (std::int64_t i = 0; i < stripe.count; ++i)
        places.push_back({stripe.local + row * stripe.count + i, stripe.whole + row * stripe.stride + i});
    }
  }
  return places;
}

}  // namespace

TEST_CASE("runs become stripes, and stripes parts, without losing an element", "[models]") {
  const std::vector<Run> runs{{0, 2, 3}, {3, 12, 3}, {6, 22, 3}, {9, 40, 3}, {12, 43, 2}, {14, 60, 2}};
  std::vector<std::array<std::int64_t, 2>> expected;
  for (const Run& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) expected.push_back({run.local + i, run.whole + i});
  }
  const auto stripes = models::stripes_of(runs);
  CHECK(stripes.size() == 3);
  CHECK(places_of(stripes) == expected);
  for (const std::int64_t longest : {1, 2, 3, 5, 6, 7, 100}) {
    CAPTURE(longest);
    std::vector<models::Stripe> parts;
    for (const models::Stripe& stripe : stripes) {
      for (const models::Stripe& part : models::parts_of(stripe, longest)) {
        CHECK(part.rows * part.count <= longest);
        parts.push_back(part);
      }
    }
    auto places = places_of(parts);
    std::sort(places.begin(), places.end());
    CHECK(places == expected);
  }
  CHECK(models::parts_of({0, 0, 0}, 4).empty());
}

TEST_CASE("what is put into weights is their truth, and they are rounded from it", "[models]") {
  const auto truth = GENERATE(Truth::weights, Truth::master, Truth::remainder);
  Weights<bf16> weights(test::cut_table(4099), models::Mesh(), truth, kHost);
  CHECK(weights.state.truth() == truth);
  const std::vector<float> values = test::awkward_values(weights.layout.row(0).size);
  weights.put(0, values);
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(values[i]);
    const auto away = std::uint16_t((bits + 0x8000u) >> 16);
    wrong +=
        weights.state.weights[0].data[i].bits != (truth == Truth::remainder ? away : bf16(values[i]).bits);
  }
  CHECK(wrong == 0);
  std::vector<float> kept = values;
  if (truth == Truth::weights) {
    for (float& value : kept) value = float(bf16(value));
  }
  CHECK(test::same_bits(weights.values(0), kept));
  CHECK(weights.values(2) == std::vector<float>(40));  // nobody's
}

TEST_CASE("elements of every floating type can be put, others are a mistake", "[models]") {
  Weights<bf16> weights(test::cut_table(10), models::Mesh(), Truth::remainder, kHost);
  Weights<float> wide(test::cut_table(10), models::Mesh(), Truth::master, kHost);
  CHECK(wide.state.truth() == Truth::weights);
  std::vector<float> values;
  for (int i = 0; i < 40; ++i) values.push_back(float(i - 20) / 8);
  const Run all{0, 0, 40};
  for (const Dtype dtype : {Dtype::float16, Dtype::bfloat16, Dtype::float32, Dtype::float64}) {
    std::vector<std::byte> bytes(std::size_t(40 * size_of(dtype)));
    convert(Dtype::float32, values.data(), dtype, bytes.data(), 40);
    models::ShardUpload(weights.state, kHost).put(2, {&all, 1}, dtype, bytes.data());
    models::ShardUpload(wide.state, kHost).put(2, {&all, 1}, dtype, bytes.data());
    CHECK(weights.values(2) == values);
    CHECK(wide.values(2) == values);
  }
  const std::vector<std::byte> integers(160);
  CHECK_THROWS_AS(models::ShardUpload(weights.state, kHost).put(2, {&all, 1}, Dtype::int32, integers.data()),
                  std::logic_error);
}

TEST_CASE("runs that lie apart go where they belong, both ways", "[models]") {
  Weights<bf16> weights(test::cut_table(10), models::Mesh(), Truth::master, kHost);
  const std::vector<Run> runs{{0, 3, 2}, {2, 13, 2}, {4, 23, 2}};
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  models::ShardUpload(weights.state, kHost)
      .put(2, runs, Dtype::float32, reinterpret_cast<const std::byte*>(values.data()));
  std::vector<float> expected(40);
  expected[3] = 1, expected[4] = 2, expected[13] = 3, expected[14] = 4, expected[23] = 5, expected[24] = 6;
  CHECK(weights.values(2) == expected);
  std::vector<float> back(6);
  models::ShardDownload(weights.state, kHost).get(2, runs, reinterpret_cast<std::byte*>(back.data()));
  CHECK(back == values);
}

TEST_CASE("a random start has the same fp32 values however they are kept", "[models]") {
  const models::Mesh mesh(2, 1, {.tensor = 2});
  Weights<float> wide(test::cut_table(1000), mesh, Truth::weights, kHost);
  models::initialise(wide.state, 5, kHost);
  for (const Truth truth : {Truth::weights, Truth::master, Truth::remainder}) {
    Weights<bf16> weights(test::cut_table(1000), mesh, truth, kHost);
    weights.put(1, std::vector<float>(7, 3.0f));  // a start is from nothing
    models::initialise(weights.state, 5, kHost);
    for (std::size_t i = 0; i < wide.layout.count(); ++i) {
      std::vector<float> expected = wide.values(i);
      if (truth == Truth::weights) {
        for (float& value : expected) value = float(bf16(value));
      }
      CHECK(test::same_bits(weights.values(i), expected));
    }
    CHECK(weights.values(1) == std::vector<float>(7, 1.0f));
    CHECK(float(weights.state.weights[1](0)) == 1);
    CHECK(float(weights.state.weights[0](0)) == float(bf16(wide.values(0)[0])));
  }
}

TEST_CASE("shards of a type known at run time refuse to be another", "[models]") {
  Arena<Space::host> arena("test");
  const models::ShardLayout layout(test::cut_table(10), models::Mesh());
  const models::AnyShards<Space::host> moments(layout, Dtype::bfloat16, arena);
  CHECK(moments.bytes().size() == 2 * layout.size());
  CHECK(moments.row<bf16>(2).data == moments.flat<bf16>().data + layout.row(2).offset);
  CHECK_THROWS_AS(moments.flat<float>(), std::logic_error);
}

#include "data/batch/batches.h"

#include <algorithm>
#include <numeric>

#include "data/batch/synthetic.h"
#include "tensor/random.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::data;

namespace {

/// Samples 0 .. count-1, sample i of the ids {i, i, ...}, as long as given.
class CountedSamples : public SampleSource {
 public:
  explicit CountedSamples(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {}
  [[nodiscard]] std::int64_t count() const override { return std::int64_t(lengths_.size()); }
  [[nodiscard]] std::int64_t length(std::int64_t index) const override {
    return lengths_[std::size_t(index)];
  }
  void read(std::int64_t index, Sample& sample) const override {
    sample.ids.assign(std::size_t(length(index)), std::int32_t(index));
    sample.labels = sample.ids;
    sample.loss_scale.clear();
  }

 private:
  std::vector<std::int64_t> lengths_;
};

std::vector<std::int64_t> counted(std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

std::vector<std::int32_t> first_ids(Batches& batches, std::int64_t position) {
  std::vector<std::int32_t> ids;
  for (std::int64_t micro = 0; micro < batches.micro_batches(); ++micro) {
    for (const std::int32_t id : batches.micro_batch(position, micro).ids) ids.push_back(id);
  }
  return ids;
}

}  // namespace

TEST_CASE("a micro batch predicts the next token inside each sample only", "[data][batches]") {
  MicroBatch batch;
  const Sample first{{5, 6, 7}, {5, -100, 7}, {9, 9, 0.5f}}, second{{8, 9}, {8, 9}, {}};
  batch.append(first.view());
  batch.append(second.view());
  CHECK(batch.ids == std::vector<std::int32_t>{5, 6, 7, 8, 9});
  CHECK(batch.positions == std::vector<std::int32_t>{0, 1, 2, 0, 1});
  CHECK(batch.targets == std::vector<std::int32_t>{-100, 7, -100, 9, -100});
  CHECK(batch.loss_scale[1] == 0.5f);
  CHECK(batch.starts == std::vector<std::int32_t>{0, 3, 5});
  CHECK(batch.trained() == 2);
  CHECK(trained_count(first.view()) + trained_count(second.view()) == 2);
}

TEST_CASE("unshuffled batches take the rows in order and go round", "[data][batches]") {
  const CountedSamples samples({1, 1, 1, 1, 1, 1});
  Batches batches(samples, unpacked(counted(6)), {.sizes = {2, 4}, .order = Order::as_in_file, .seed = 1});
  CHECK(first_ids(batches, 0) == std::vector<std::int32_t>{0, 1, 2, 3});
  CHECK(first_ids(batches, 4) == std::vector<std::int32_t>{4, 5, 0, 1});
  CHECK(batches.iterations(1, 0) == 1);
  CHECK(batches.iterations(2, 0) == 3);
  CHECK(batches.iterations(2, 4) == 2);
  CHECK(batches.iterations(0.5, 0) == 0);
  CHECK(batches.iterations(1, 8) == 0);
}

TEST_CASE("every shuffled epoch holds each pack once, in an order of its own", "[data][batches]") {
  const CountedSamples samples(std::vector<std::int64_t>(12, 1));
  Batches batches(samples, unpacked(counted(12)), {.sizes = {1, 12}, .order = Order::shuffled, .seed = 7});
  auto first = first_ids(batches, 0), second = first_ids(batches, 12);
  CHECK(first != second);
  CHECK(first_ids(batches, 0) == first);  // going back gives the same again
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  CHECK(first == second);
  CHECK(first.front() == 0);
  CHECK(first.back() == 11);
}

TEST_CASE("best fit fills packs without splitting or losing a sample", "[data][packing]") {
  std::vector<std::int64_t> lengths;
  const Random random{3, RandomStream::sampling};
  for (std::uint64_t i = 0; i < 5000; ++i) lengths.push_back(1 + std::int64_t(random.below(300, i)));
  const Packs packs = packed_best_fit(counted(5000), lengths, 1024);

  std::vector<std::int64_t> seen = packs.samples;
  std::sort(seen.begin(), seen.end());
  CHECK(seen == counted(5000));
  std::int64_t total = 0;
  for (std::int64_t p = 0; p < packs.count(); ++p) {
    std::int64_t used = 0;
    for (const std::int64_t sample : packs.pack(p)) used += lengths[std::size_t(sample)];
    CHECK(used <= 1024);
    total += used;
  }
  CHECK(double(total) / double(packs.count() * 1024) > 0.97);
}

TEST_CASE("best fit takes the fullest pack that has room", "[data][packing]") {
  // 7, 6, 3, 3 into tens: 3 joins 7 (room 3), the other 3 joins 6; emptiest-first would do the reverse.
  const Packs packs = packed_best_fit(counted(4), std::vector<std::int64_t>{6, 7, 3, 3}, 10);
  REQUIRE(packs.count() == 2);
  CHECK(std::vector<std::int64_t>(packs.pack(0).begin(), packs.pack(0).end()) ==
        std::vector<std::int64_t>{1, 2});
  CHECK(std::vector<std::int64_t>(packs.pack(1).begin(), packs.pack(1).end()) ==
        std::vector<std::int64_t>{0, 3});
}

TEST_CASE("file#N repeats whole files and then draws the rest", "[data][sampling]") {
  const auto ten = draw(4, 10, 0, Order::shuffled, {1, 0}).train;
  REQUIRE(ten.size() == 10);
  for (std::int64_t row = 0; row < 4; ++row) CHECK(std::count(ten.begin(), ten.end(), row) >= 2);
  CHECK(draw(4, 10, 0, Order::as_in_file, {1, 0}).train ==
        std::vector<std::int64_t>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1});
  auto three = draw(4, 3, 0, Order::shuffled, {1, 0}).train;
  std::sort(three.begin(), three.end());
  CHECK(std::unique(three.begin(), three.end()) == three.end());
}

TEST_CASE("drawn rows bring all their samples", "[data][sampling]") {
  CHECK(samples_of_rows({2, 0, 2}, {10, 11, 11, 14}) ==
        std::vector<std::int64_t>{11, 12, 13, 10, 11, 12, 13});
  CHECK(samples_of_rows({1}, {10, 11, 11, 14}).empty());
}

TEST_CASE("the validation split is disjoint from training and as large as ms-swift's", "[data][sampling]") {
  const Split split = draw(100, 0, 0.05, Order::shuffled, {42, 0});
  CHECK(split.validation.size() == 5);
  CHECK(split.train.size() == 95);
  for (const std::int64_t row : split.validation)
    CHECK(std::count(split.train.begin(), split.train.end(), row) == 0);
  CHECK(draw(10, 0, 0.01, Order::as_in_file, {1, 0}).validation == std::vector<std::int64_t>{9});
  CHECK_THROWS_WITH(draw(1, 0, 0.5, Order::shuffled, {1, 0}), test::contains("nothing is left to train on"));
}

TEST_CASE("a dataset's name carries its number of rows", "[data][sampling]") {
  CHECK(parse_dataset_name("a.jsonl#500").limit == 500);
  CHECK(parse_dataset_name("a.jsonl").limit == 0);
  CHECK(parse_dataset_name("synthetic#8").is_synthetic());
  CHECK_THROWS_WITH(parse_dataset_name("a.jsonl#x"), test::contains("a number of rows"));
  CHECK_THROWS_WITH(parse_dataset_name("a.jsonl#0"), test::contains("1 or more"));
}

TEST_CASE("both sides of a pair lie in one micro batch, each a sequence of its own", "[data][batches]") {
  const Sample pair{{5, 6, 7, 5, 8}, {-100, 6, 7, -100, 8}, {}, 3},
      other{{1, 2, 1, 3}, {-100, 2, -100, -100}, {}, 2};
  MicroBatch batch;
  batch.append(pair.view());
  batch.append(other.view());
  CHECK(batch.starts == std::vector<std::int32_t>{0, 3, 5, 7, 9});
  CHECK(batch.positions == std::vector<std::int32_t>{0, 1, 2, 0, 1, 0, 1, 0, 1});
  CHECK(batch.targets == std::vector<std::int32_t>{6, 7, -100, 8, -100, 2, -100, -100, -100});
  CHECK(batch.pairs == 2);
  CHECK(batch.trained() == 4);
  CHECK(batch.trained_chosen() == 3);
  CHECK(trained_count(pair.view()) == 3);
}

TEST_CASE("a pair longer than a pack is a pack of its own", "[data][packing]") {
  const std::vector<std::int64_t> samples{0, 1, 2, 3}, lengths{6, 15, 4, 12};
  const Packs packs = packed_best_fit(samples, lengths, 10);
  REQUIRE(packs.count() == 3);
  for (std::int64_t pack = 0; pack < 3; ++pack) {
    std::int64_t tokens = 0;
    for (const std::int64_t sample : packs.pack(pack)) tokens += lengths[std::size_t(sample)];
    CHECK((tokens <= 10 || packs.pack(pack).size() == 1));
  }
}

TEST_CASE("synthetic pairs have two sequences, each without its first token", "[data][synthetic]") {
  const SyntheticSamples samples({.count = 3, .length = 16, .vocab = 50, .sequences = 2}, 1);
  Sample pair;
  samples.read(2, pair);
  CHECK(samples.length(2) == 32);
  CHECK(pair.rejected_begin == 16);
  CHECK(trained_count(pair.view()) == 30);
}

TEST_CASE("synthetic samples are trained but for their first token, and reproducible", "[data][synthetic]") {
  const SyntheticSamples samples({.count = 3, .length = 16, .vocab = 50}, 1);
  Sample a, b;
  samples.read(2, a);
  samples.read(2, b);
  CHECK(a.ids == b.ids);
  CHECK(trained_count(a.view()) == 15);
  for (const std::int32_t id : a.ids) CHECK((id >= 0 && id < 50));
}

#include "data/store/encode_share.h"

#include "base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

/// 500 rows of tokens; every seventh has an id outside of the vocabulary.
std::string rows() {
  std::string text;
  for (int row = 0; row < 500; ++row) {
    const int id = row % 7 == 3 ? 1000 : row % 50;
    text += "{\"input_ids\":[1," + std::to_string(id) + "],\"labels\":[1," + std::to_string(id) + "]}\n";
  }
  return text;
}

}  // namespace

TEST_CASE("shares of any number of ranks make the same samples", "[data][store]") {
  const test::TemporaryFolder folder;
  write_file(folder / "rows.jsonl", rows());
  const RowFile file(folder / "rows.jsonl");
  EncodeSettings settings;
  settings.vocabulary = 60;
  const Encoder encoder(nullptr, settings, {});
  const std::int64_t ranks = GENERATE(1, 2, 5);
  ShareReport all;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    SampleWriter writer(folder.path(), rank);
    const auto report =
        encode_share({.file = file, .settings = {}, .encoder = encoder, .share = {rank, ranks}}, writer);
    writer.finish(report.text());
    all.add(ShareReport::from_text(report.text()));
  }
  CHECK(all.rows == 500);
  CHECK(all.dropped.total() == 71);
  CHECK(all.dropped.lines({"rows.jsonl"}).front() ==
        "71 rows left out: " + std::string(reason_text(DropReason::token_outside_vocabulary)) +
            " (first: rows.jsonl:4)");

  const SampleStore store(folder.path(), ranks);
  REQUIRE(store.count() == 429);
  Sample sample;
  for (std::int64_t i = 0; i < store.count(); ++i) {
    store.read(i, sample);
    CHECK(sample.ids == std::vector<std::int32_t>{1, std::int32_t(store.row(i) % 50)});
    if (i > 0) CHECK(store.row(i) > store.row(i - 1));
  }
}

TEST_CASE("a row that is no row stops the encoding with its place", "[data][store]") {
  const test::TemporaryFolder folder;
  write_file(folder / "rows.jsonl", "{\"input_ids\":[1],\"labels\":[1]}\n{\"input_ids\":[1\n");
  const RowFile file(folder / "rows.jsonl");
  const Encoder encoder(nullptr, {}, {});
  SampleWriter writer(folder.path(), 0);
  CHECK_THROWS_WITH(encode_share({.file = file, .settings = {}, .encoder = encoder, .share = {}}, writer),
                    test::contains("rows.jsonl:2"));
}

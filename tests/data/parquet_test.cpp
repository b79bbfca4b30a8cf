// Parquet files of tests/golden/parquet (made by make.py there) against the same rows as jsonl.
#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "data/rows/json_dump.h"
#include "data/rows/row.h"
#include "data/rows/source.h"
#include "tests/support/catch.h"
#include "tests/support/repository.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

using Texts = std::vector<std::string>;

std::filesystem::path golden(const std::string& name) {
  return test::repository() / "tests/golden/parquet" / name;
}

bool can_read() {
  return !parquet_reader().empty();
}

/// The columns of every row of a share, in the order of jsonl's keys: as text.
Texts columns_of(const std::string& name, Share share = {}) {
  const RowFile file(golden(name));
  RowReader reader(file, share);
  Texts rows;
  while (const auto row = reader.next())
    rows.push_back(fmt::format("{} {}", row->number, json_dump(Json(row->batch->columns(row->index)))));
  CHECK_FALSE(reader.next().has_value());
  return rows;
}

/// Without nulls, and members in the order that the files' schema has.
Texts expected_rows() {
  const RowFile file(golden("rows.jsonl"));
  RowReader reader(file);
  JsonParser parser;
  const std::vector<std::string> order{"messages", "query", "response", "history",   "tools",  "score",
                                       "margin",   "id",    "ok",       "input_ids", "labels", "loss_scale"};
  Texts rows;
  while (const auto row = reader.next()) {
    auto value = parser.parse(row->text);
    Json::Object sorted;
    for (const std::string& name : order) {
      if (auto column = take_member(*value->as<Json::Object>(), name))
        sorted.emplace_back(name, std::move(*column));
    }
    CHECK(value->object()->empty());
    rows.push_back(fmt::format("{} {}", row->number, json_dump(Json(std::move(sorted)))));
  }
  return rows;
}

/// What reading all rows of a changed copy of `name` complains about, without its folder.
std::string complaint(const std::string& name, const std::function<void(std::string&)>& change = {}) {
  const test::TemporaryFolder folder;
  std::string bytes = read_file(golden(name), 1 << 20);
  if (change) change(bytes);
  write_file(folder / name, bytes);
  try {
    const RowFile file(folder / name);
    RowReader reader(file);
    RowParser parser(file, {});
    while (const auto row = reader.next()) (void)parser.parse(*row);
  } catch (const InputError& error) {
    return std::string(error.what()).substr(folder.path().string().size() + 1);
  }
  return "";
}

}  // namespace

TEST_CASE("rows of parquet are those of jsonl, whatever the codec and the groups", "[data][parquet]") {
  if (!can_read()) return;
  const Texts expected = expected_rows();
  REQUIRE(expected.size() == 7);
  for (const char* kind : {"none", "zstd", "snappy", "gzip", "one_group"}) {
    INFO(kind);
    CHECK(columns_of(fmt::format("rows.{}.parquet", kind)) == expected);
  }
}

TEST_CASE("ranks share the rows of parquet by groups, and parts of them where they are few",
          "[data][parquet]") {
  if (!can_read()) return;
  const Texts expected = expected_rows();
  const auto check = [&](const std::string& name, std::int64_t block, std::int64_t ranks) {
    INFO(name << " block " << block << " ranks " << ranks);
    Texts all;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      const Share share{.index = rank, .of = ranks, .block = block};
      for (const std::string& row : columns_of(name, share)) {
        CHECK(share.holds(row[0] - '1'));
        all.push_back(row);
      }
    }
    std::sort(all.begin(), all.end());
    CHECK(all == expected);
  };
  for (const std::int64_t block : {1, 2, 3, 4, 100}) {
    for (const std::int64_t ranks : {1, 2, 3}) {
      check("rows.zstd.parquet", block, ranks);
      check("rows.one_group.parquet", block, ranks);
    }
  }
  CHECK(RowFile(golden("rows.zstd.parquet")).share(1, 2).block == Share::kBlock);
}

TEST_CASE("a share meets what it holds a row of", "[data][parquet]") {
  for (const std::int64_t of : {1, 2, 3}) {
    for (const std::int64_t block : {1, 2, 5}) {
      const Share share{.index = of - 1, .of = of, .block = block};
      for (std::int64_t begin = 0; begin < 20; ++begin) {
        bool holds = false;
        for (std::int64_t end = begin; end < 25; ++end) {
          CHECK(share.meets(begin, end) == holds);
          holds = holds || share.holds(end);
        }
      }
    }
  }
}

TEST_CASE("values of every type that a row may hold", "[data][parquet]") {
  if (!can_read()) return;
  CHECK(
      columns_of("types.parquet") ==
      Texts{
          "1 {\"i8\": -8, \"i16\": -16, \"i32\": -32, \"u8\": 8, \"u16\": 16, \"u32\": 32, \"u64\": "
          "18446744073709551615, \"f32\": 0.5, \"decimal\": 12.5, \"bytes\": \"text\", \"large\": "
          "\"large\", "
          "\"large_bytes\": \"text\", \"dictionary\": \"word\", \"map\": {\"k\": 1}, \"large_list\": [\"x\", "
          "null], \"fixed\": [1, 2], \"struct\": {\"a\": {\"c\": [true]}}}"});
  CHECK(complaint("types.parquet") == "");  // a time in a column that rows are not made of
}

TEST_CASE("parquet files that are wrong are refused with place and cure", "[data][parquet]") {
  if (!can_read()) return;
  const std::string cut =
      "rows.zstd.parquet: the file does not end with PAR1: it is cut short or still being written; copy or "
      "write it "
      "again";
  for (const std::size_t size : {std::size_t{4}, std::size_t{1000}}) {
    CHECK(complaint("rows.zstd.parquet", [&](std::string& bytes) { bytes.resize(size); }) == cut);
  }
  CHECK(complaint("rows.zstd.parquet", [](std::string& bytes) { bytes.clear(); }) ==
        "rows.zstd.parquet: not a parquet file that can be read: it does not begin with PAR1");
  CHECK(complaint("rows.zstd.parquet", [](std::string& bytes) {
          bytes = "PAR1abcdefghPAR1";
        }).starts_with("rows.zstd.parquet: not a parquet file that can be read: "));
  CHECK(complaint("rows.zstd.parquet", [](std::string& bytes) {
          bytes[bytes.size() - 20] ^= 0x55;
        }).starts_with("rows.zstd.parquet: "));
  const auto damaged = complaint("rows.gzip.parquet", [](std::string& bytes) {
    for (std::size_t i = 60; i < 300; ++i) bytes[i] = char(0xaa);
  });
  CHECK(damaged.starts_with(
      "rows.gzip.parquet: row group 1 (rows 1 to 3) cannot be read: the file is damaged, make "
      "it again: "));
  CHECK(complaint("time.parquet") ==
        "time.parquet: column 'Response' is of type timestamp[ms], which no row can be made of (write it as "
        "text, "
        "numbers, lists or structs)");
  CHECK(complaint("latin.parquet") ==
        "latin.parquet: row 2, column 'response': the text is not UTF-8 (write it again as UTF-8)");
  const RowFile file(golden("time.parquet"));
  CHECK_NOTHROW(RowParser(file, {.columns = {{"Response", "later"}}}));
  CHECK_THROWS_WITH(RowFile("no/such.parquet"), "no/such.parquet: cannot open: No such file or directory");
}

TEST_CASE("a build without Arrow says how to get one with it", "[data][parquet]") {
  if (can_read()) return;
  CHECK_THROWS_WITH(
      RowFile(golden("rows.zstd.parquet")),
      golden("rows.zstd.parquet").string() +
          ": parquet files need a build with Apache Arrow, and this one is without (run `env/setup.sh "
          "parquet` and build again, or write the rows as .jsonl)");
}

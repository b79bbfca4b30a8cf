#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/rows/csv.h"
#include "data/rows/row.h"
#include "data/rows/source.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

/// A file of rows for the time of a test.
struct Written {
  Written(const std::string& name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
    path = (folder / name).string();
  }
  test::TemporaryFolder folder;
  std::string path;
};

std::vector<std::string> rows_of(const std::string& path) {
  const RowFile file(path);
  RowReader reader(file);
  std::vector<std::string> rows;
  while (const auto row = reader.next()) {
    rows.emplace_back(row->text);
    CHECK(row->number == std::int64_t(rows.size()));
    CHECK(file.text().substr(row->offset, row->text.size()) == row->text);
  }
  CHECK_FALSE(reader.next().has_value());
  return rows;
}

/// What reading and parsing all rows complains about, without the folder; "" where all is well.
std::string complaint(const std::string& name, const std::string& text) {
  const Written written(name, text);
  try {
    const RowFile file(written.path);
    RowReader reader(file);
    RowParser parser(file, {});
    while (const auto row = reader.next()) (void)parser.parse(*row);
  } catch (const InputError& error) {
    const std::string message = error.what();
    const std::size_t folder = message.find(written.folder.path().string());
    REQUIRE(folder == 0);
    return message.substr(written.folder.path().string().size() + 1);
  }
  return "";
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("lines are rows, blank ones are not", "[data][rows]") {
  const Written written("a.jsonl", "\xef\xbb\xbf{\"a\":1}\n\n  \r\n{\"b\":2}\r\n{\"c\":3}");
  CHECK(rows_of(written.path) == Texts{"{\"a\":1}", "{\"b\":2}\r", "{\"c\":3}"});
  CHECK(rows_of(Written("empty.jsonl", "").path).empty());
  CHECK(RowFile(written.path).place(11) == written.path + ":2:1");
}

TEST_CASE("the elements of an array are rows, whatever is in their strings", "[data][rows]") {
  const Written written("a.json",
                        " [ {\"a\": \"]}\\\"\\\\\"},\n{\"b\": [1, {\"c\": \"{\"}]} ,[2],3,\"x,]\" ]\n");
  CHECK(rows_of(written.path) ==
        Texts{"{\"a\": \"]}\\\"\\\\\"}", "{\"b\": [1, {\"c\": \"{\"}]}", "[2]", "3", "\"x,]\""});
  CHECK(rows_of(Written("none.json", "[]").path).empty());
  CHECK(rows_of(Written("lines.json", "{\"a\": 1}\n{\"a\": 2}\n").path).size() == 2);
}

TEST_CASE("an array with a broken frame is refused at the place of the fault", "[data][rows]") {
  CHECK(complaint("a.json", "[{\"a\": 1},\n {\"a\": 2}") == "a.json:2:10 expected ',' or ']' after a row");
  CHECK(complaint("a.json", "[{\"a\": 1},\n {\"a\": 2") ==
        "a.json:2:2 the array of rows ends here without ']'");
  CHECK(complaint("a.json", "[{\"a\": 1},]") == "a.json:1:11 expected a row, found ']'");
  CHECK(complaint("a.json", "[,]") == "a.json:1:2 expected a row, found ','");
  CHECK(complaint("a.json", "[{\"a\": 1} {\"a\": 2}]") == "a.json:1:11 expected ',' or ']' after a row");
  CHECK(complaint("a.json", "[]\n{}") == "a.json:2:1 text after the array of rows");
  CHECK(complaint("a.json", "[") == "a.json:1:2 the array of rows ends here without ']'");
}

TEST_CASE("a row that is no JSON object is refused with line and column", "[data][rows]") {
  CHECK(complaint("a.jsonl", "{\"a\": 1}\n{\"a\" 2}\n").starts_with("a.jsonl:2:6 not JSON: "));
  CHECK(complaint("a.jsonl", "{\"a\": 1} x\n").starts_with("a.jsonl:1:10 not JSON: "));
  CHECK(complaint("a.jsonl", "{\"a\": 01}\n").starts_with("a.jsonl:1:8 not JSON: "));
  CHECK(complaint("a.jsonl", "{\"a\": tru}\n").starts_with("a.jsonl:1:"));
  CHECK(complaint("a.jsonl", "{\"a\": [1,]}\n").starts_with("a.jsonl:1:10 not JSON: "));
  CHECK(complaint("a.jsonl", "{\"a\": \"\xff\"}\n").starts_with("a.jsonl:1:"));
  CHECK(complaint("a.jsonl", "\n[1]\n") == "a.jsonl:2:2 a row must be an object {\"column\": value, ..}");
  CHECK(complaint("a.jsonl", "{}\n 5\n") == "a.jsonl:2:1 a row must be an object {\"column\": value, ..}");
  CHECK(complaint("a.jsonl", "{\"a\":" + std::string(600, '[') + std::string(600, ']') + "}").find("deep") !=
        std::string::npos);
}

TEST_CASE("records of a csv file", "[data][rows]") {
  const std::string text = "a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n,\n\"q\"";
  CHECK(rows_of(Written("a.csv", text).path) == Texts{"1,\"x, \"\"y\"\"\nz\"", ",", "\"q\""});
  CHECK(csv_fields("1,\"x, \"\"y\"\"\nz\"") == Texts{"1", "x, \"y\"\nz"});
  CHECK(csv_fields(",") == Texts{"", ""});
  CHECK(csv_fields("a\"b,\"c\"d") == Texts{"a\"b", "cd"});
  CHECK(complaint("a.csv", "a,b\n1,2\n3,\"4\n") ==
        "a.csv:3:1 a quoted field of the record that begins here is not closed");
  CHECK(complaint("a.csv", "query,response\n1,2,3\n") ==
        "a.csv:2:1 3 fields, but the header names 2 columns");
  CHECK(complaint("a.csv", "query,response\n\xff,2\n") == "a.csv:2:1 not UTF-8");
}

TEST_CASE("each line of a text file is a row, blank ones too", "[data][rows]") {
  const Written written("a.txt", "\xef\xbb\xbfone \n\n[two]\r\nthree\rfour");
  CHECK(rows_of(written.path) == Texts{"one ", "", "[two]", "three", "four"});
  CHECK(rows_of(Written("none.txt", "").path).empty());
  const RowFile file(written.path);
  RowReader reader(file);
  const Row row = RowParser(file, {}).parse(*reader.next());
  const auto& messages = std::get<ChatRow>(row).messages;
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].role == Role::assistant);
  CHECK(messages[0].content == "one ");
  CHECK(complaint("b.txt", "fine\nno \xff\n") == "b.txt:2:1 not UTF-8");
}

TEST_CASE("a csv field may hold quotes, commas and line ends", "[data][rows]") {
  const Written written("a.csv", "query,response\r\n\"say \"\"a,b\"\"\",\"1\n2\r\n3\"\r\nx,\r\n");
  const RowFile file(written.path);
  RowReader reader(file);
  RowParser parser(file, {});
  const Row first = parser.parse(*reader.next()), second = parser.parse(*reader.next());
  CHECK(std::get<ChatRow>(first).messages[0].content == "say \"a,b\"");
  CHECK(std::get<ChatRow>(first).messages[1].content == "1\n2\r\n3");
  CHECK(std::get<ChatRow>(second).messages[1].content.empty());
  CHECK(complaint("b.csv", "query,response\na,\"b\nc\n") ==
        "b.csv:2:1 a quoted field of the record that begins here is not closed");
}

TEST_CASE("kinds of files that are not built are refused by name", "[data][rows]") {
  CHECK_THROWS_WITH(
      RowFile("a.jsonl.gz"),
      "a.jsonl.gz: compressed text is not built (unpack it, or write the rows as .parquet, which "
      "is compressed inside)");
  CHECK_THROWS_WITH(RowFile("a.rows"),
                    "a.rows: unknown kind of data file (known: .jsonl, .json, .csv, .txt, .parquet)");
  CHECK_THROWS_AS(RowFile("no/such/file.jsonl"), InputError);
}

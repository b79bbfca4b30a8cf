#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "data/rows/files.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

/// Names below the folder, where all are.
std::vector<std::string> names(const std::filesystem::path& folder, const std::string& path) {
  std::vector<std::string> list;
  for (const std::string& file : row_files((folder / path).string()))
    list.push_back(std::filesystem::path(file).lexically_normal().lexically_relative(folder));
  return list;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a folder, a pattern and a file mean files", "[data][rows]") {
  const test::TemporaryFolder folder;
  for (const char* name :
       {"b.jsonl", "a.parquet", "c.csv", "d.txt", "e.json", "README.md", ".hidden.jsonl", "x[1].jsonl"})
    write_file(folder / name, "");
  std::filesystem::create_directories(folder / "below/deeper.jsonl");
  std::filesystem::create_directories(folder / "empty");
  write_file(folder / "below/f.jsonl", "");
  CHECK(names(folder.path(), ".") == Names{"a.parquet", "b.jsonl", "c.csv", "d.txt", "e.json", "x[1].jsonl"});
  CHECK(names(folder.path(), "*.jsonl") == Names{"b.jsonl", "x[1].jsonl"});
  CHECK(names(folder.path(), "[bc].*") == Names{"b.jsonl", "c.csv"});
  CHECK(names(folder.path(), "*/*.jsonl") == Names{"below/f.jsonl"});
  CHECK(names(folder.path(), "x[1].jsonl") == Names{"x[1].jsonl"});        // it exists, so it is no pattern
  CHECK(names(folder.path(), "nowhere.jsonl") == Names{"nowhere.jsonl"});  // whoever opens it complains
  const std::string empty = (folder / "empty").string(), none = (folder / "*.arrow").string();
  CHECK_THROWS_WITH(row_files(empty),
                    empty +
                        ": no data file in this folder (.jsonl, .json, .csv, .txt, .parquet; "
                        "folders in it are not looked into: name them, or use a pattern such as " +
                        empty + "/*/*.parquet)");
  CHECK_THROWS_WITH(row_files(none), none + ": no file matches this pattern (check it with ls)");
}

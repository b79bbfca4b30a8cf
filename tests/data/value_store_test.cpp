#include "data/store/value_store.h"

#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

void write(const test::TemporaryFolder& folder) {
  ValueWriter first(folder.path(), 0), second(folder.path(), 1);
  first.add(7, std::vector<float>{-1.5f, -0.25f});
  first.add(2, std::vector<float>{});
  second.add(3, std::vector<float>{-8});
  first.finish();
  second.finish();
}

std::vector<float> list_of(const ValueStore& store, std::int64_t sample) {
  const auto list = store.find(sample).value();
  return {list.begin(), list.end()};
}

/// Turns a bit of a file.
void damage(const std::filesystem::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = char(file.get());
  file.seekp(at);
  file.put(char(byte ^ 1));
}

}  // namespace

TEST_CASE("lists of samples come back by their number", "[data][values]") {
  const test::TemporaryFolder folder;
  write(folder);
  const ValueStore store(folder.path(), 2);
  CHECK(list_of(store, 7) == std::vector<float>{-1.5f, -0.25f});
  CHECK(list_of(store, 2).empty());
  CHECK(list_of(store, 3) == std::vector<float>{-8});
  CHECK_FALSE(store.find(4).has_value());
  CHECK_NOTHROW(store.verify(0));
  CHECK_NOTHROW(store.verify(1));
}

TEST_CASE("a part of lists that is not what was written is noticed", "[data][values]") {
  const test::TemporaryFolder folder;
  write(folder);
  damage(folder / "part-0000.values", 5);
  damage(folder / "part-0001.index", 33);  // of the entry: the sample's number
  const ValueStore store(folder.path(), 2);
  CHECK_THROWS_WITH(store.verify(0), test::contains("part-0000: not whole"));
  CHECK_THROWS_WITH(store.verify(1), test::contains("part-0001: not whole"));
  std::filesystem::resize_file(folder / "part-0000.values", 4);
  CHECK_THROWS_WITH(ValueStore(folder.path(), 2), test::contains("part-0000: not whole"));
  std::filesystem::remove(folder / "part-0000.index");
  CHECK_THROWS_WITH(ValueStore(folder.path(), 2), test::contains("part-0000.index"));
}

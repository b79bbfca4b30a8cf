#include "base/file.h"

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
namespace fs = std::filesystem;

TEST_CASE("a file gives back what was written at each place", "[file]") {
  const test::TemporaryFolder folder;
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  {
    File file(folder / "a", File::Mode::create);
    file.resize(10);
    file.write_at(7, bytes);
    file.sync();
  }
  {
    File file(folder / "a", File::Mode::write_existing);
    file.write_at(0, bytes);
  }
  const File file(folder / "a", File::Mode::read);
  REQUIRE(file.size() == 10);
  std::vector<std::byte> whole(10);
  file.read_at(0, whole);
  const std::vector<std::byte> expected{bytes[0], bytes[1], bytes[2], {},       {},
                                        {},       {},       bytes[0], bytes[1], bytes[2]};
  CHECK(whole == expected);
  CHECK(read_file(folder / "a", 10).size() == 10);
}

TEST_CASE("what cannot be read is named with its reason", "[file]") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "a";
  CHECK_THROWS_WITH(File(path, File::Mode::read), path + ": cannot be opened: No such file or directory");
  fs::create_directory(path);
  CHECK_THROWS_WITH(File(path, File::Mode::read), path + ": is not a file: Is a directory");
  const std::string short_path = folder / "short";
  write_file(short_path, "12345");
  const File file(short_path, File::Mode::read);
  std::array<std::byte, 4> out;
  CHECK_THROWS_WITH(file.read_at(3, out), short_path + ": ends at byte 5; more was expected");
  CHECK_THROWS_WITH(read_file(short_path, 4), short_path + ": 5 bytes; more than 4 are not read");
}

TEST_CASE("what cannot be written is the cluster's failure", "[file]") {
  const test::TemporaryFolder folder;
  CHECK_THROWS_AS(File(folder / "none/a", File::Mode::create), ClusterError);
  CHECK_THROWS_AS(sync_folder(folder / "none"), ClusterError);
  sync_folder(folder.path());
  if (fs::exists("/dev/full")) CHECK_THROWS_AS(File("/dev/full", File::Mode::write_existing), ClusterError);
}

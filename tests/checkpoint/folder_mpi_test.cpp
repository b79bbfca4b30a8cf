#include <csignal>
#include <optional>
#include <set>
#include <sys/resource.h>

#include "base/file.h"
#include "tests/checkpoint/state_case.h"
#include "tests/support/catch.h"

using namespace moebius;
using checkpoint::Reader;
using cluster::AgreedError;
using cluster::Cluster;
using cluster::Mesh;

namespace {

struct Run {  // a run that saves its state into a folder
  Cluster& cluster;
  Log log{1};  // silent
  test::State state;
  checkpoint::Folder folder;

  Run(Cluster& ranks, const std::filesystem::path& path)
      : cluster(ranks), state(Mesh(ranks.size(), ranks.rank(), {})), folder(path, ranks, log) {}

  std::filesystem::path save(std::int64_t iteration, std::int64_t keep = 2) {
    state.fill(float(iteration));
    const auto contents = test::some_contents(iteration);
    return folder.save(state.request(contents), keep);
  }
  /// The iteration of the newest whole checkpoint, whose tensors must be that iteration's; -1: none.
  std::int64_t newest() {
    const auto loaded = folder.load_newest([&](const Reader& reader) { state.load(reader); });
    if (!loaded) return -1;
    REQUIRE(state.differences(float(loaded->contents.iteration)) == 0);
    return loaded->contents.iteration;
  }
};

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

/// Changes one byte in the middle of a tensor of a saved iteration.
void damage_tensor(const std::filesystem::path& file, std::int64_t iteration, Cluster& cluster) {
  cluster.together("damage", [&] {
    if (cluster.rank() != 0) return;
    std::string bytes = read_file(file, 1 << 30);
    const float element = test::element_of(0, 5, float(iteration));
    const std::size_t place =
        bytes.find(std::string(reinterpret_cast<const char*>(&element), sizeof(element)));
    bytes.at(place) ^= 1;
    write_file(file, bytes);
  });
}

/// No file may grow beyond so many bytes: what this process writes past them fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::int64_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = rlim_t(bytes);
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

template <class Call>
AgreedError error_of(Call&& call) {
  try {
    call();
  } catch (const AgreedError& error) {
    return error;
  }
  throw std::logic_error("nothing was thrown");
}

}  // namespace

TEST_CASE("the newest checkpoints are kept and found", "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder / "checkpoints");
  CHECK(run.newest() == -1);
  run.save(5);
  CHECK(run.newest() == 5);
  if (cluster.rank() == 0) {
    write_file(folder / "checkpoints" / "step_1.h5", "somebody's");
    write_file(folder / "checkpoints" / "notes.txt", "somebody's");
  }
  run.save(10), run.save(15);
  CHECK(run.newest() == 15);
  CHECK(names_in(folder / "checkpoints") ==
        std::set<std::string>{"step_00000010.h5", "step_00000015.h5", "latest", "step_1.h5", "notes.txt"});
  CHECK(read_file(folder / "checkpoints" / "latest", 100) == "step_00000015.h5\n");
}

TEST_CASE("a run that went back to an older iteration goes on from there", "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder.path());
  run.save(50), run.save(90);
  run.save(60);  // after a resume from 50 that was asked for
  CHECK(run.newest() == 60);
  run.save(70);
  CHECK(run.newest() == 70);
  CHECK_FALSE(std::filesystem::exists(folder / "step_00000090.h5"));
  run.save(70);  // the same iteration again takes the place of the old file
  CHECK(run.newest() == 70);
}

TEST_CASE("a damaged checkpoint is passed over", "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder.path());
  run.save(5), run.save(10);
  damage_tensor(folder / "step_00000010.h5", 10, cluster);
  CHECK(run.newest() == 5);
  SECTION("cut off, too") {
    if (cluster.rank() == 0) File(folder / "step_00000010.h5", File::Mode::write_existing).resize(5000);
    cluster.barrier("cut");
    CHECK(run.newest() == 5);
    run.save(15, 1);  // what cannot be read is not known to be ours: it stays
    CHECK(std::filesystem::exists(folder / "step_00000010.h5"));
    CHECK_FALSE(std::filesystem::exists(folder / "step_00000005.h5"));
    CHECK(run.newest() == 15);
  }
  SECTION("all of them") {
    damage_tensor(folder / "step_00000005.h5", 5, cluster);
    const auto error = error_of([&] { (void)run.newest(); });
    CHECK(error.code() == ExitCode::input);
    CHECK_THAT(error.what(),
               Catch::Contains("none of its 2 checkpoints is whole") && Catch::Contains("embedding"));
  }
}

TEST_CASE("a file named by the user is read or refused, never passed over", "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder.path());
  const auto file = run.save(5);
  const auto load = [&](const Reader& reader) { run.state.load(reader); };
  CHECK(checkpoint::load_checkpoint(file, load, cluster).contents.samples == 80);
  damage_tensor(file, 5, cluster);
  CHECK(error_of([&] { (void)checkpoint::load_checkpoint(file, load, cluster); }).code() == ExitCode::input);
}

TEST_CASE("partial files are never read, and removed when a run starts", "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder.path());
  run.save(5);
  if (cluster.rank() == 0) {
    std::filesystem::copy(folder / "step_00000005.h5", folder / "step_00000010.h5.partial");
    write_file(folder / "model.partial", "somebody's");
  }
  cluster.barrier("left");
  CHECK(run.newest() == 5);
  run.folder.remove_partials();
  CHECK(names_in(folder.path()) == std::set<std::string>{"step_00000005.h5", "latest", "model.partial"});
}

TEST_CASE("where the disk refuses, all ranks fail alike and the last checkpoint stays",
          "[checkpoint][folder]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  Run run(cluster, folder.path());
  const auto size = std::int64_t(std::filesystem::file_size(run.save(5)));

  AgreedError error(ExitCode::done, "");
  SECTION("before anything is written") {
    const FileSizeLimit limit(size / 2);
    error = error_of([&] { run.save(10); });
  }
  SECTION("in the middle of the collective writes") {
    std::optional<FileSizeLimit> limit;
    const auto contents = test::some_contents(10);
    auto request = run.state.request(contents);
    const auto even = checkpoint::even_slabs(run.state.layout.table(), cluster.size(), cluster.rank());
    request.groups[0].slabs = checkpoint::lists_of(even);
    const auto source = request.groups[0].source;
    request.groups[0].source = [&](std::size_t parameter, const checkpoint::Slab& slab, auto elements) {
      if (!limit) limit.emplace(size / 16);  // the tables behind the tensors are most of so small a file
      source(parameter, slab, elements);
    };
    error = error_of([&] { (void)run.folder.save(request, 2); });
  }
  INFO(error.what());
  CHECK(error.code() == ExitCode::cluster);
  CHECK(std::string(error.what()).find("step_00000010.h5.partial") != std::string::npos);
  CHECK(names_in(folder.path()) == std::set<std::string>{"step_00000005.h5", "latest"});
  CHECK(run.newest() == 5);
  run.save(15);
  CHECK(run.newest() == 15);
}

TEST_CASE("one run at a time writes an output folder", "[checkpoint][output]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const Log log(1);
  {
    const checkpoint::OutputLock lock(folder / "run", cluster, log);
    const auto error = error_of([&] { const checkpoint::OutputLock second(folder / "run", cluster, log); });
    CHECK(error.code() == ExitCode::cluster);
    CHECK_THAT(error.what(),
               Catch::Contains("another run writes to this folder (process ") && Catch::Contains(" on "));
  }
  cluster.barrier("released");
  CHECK_NOTHROW(checkpoint::OutputLock(folder / "run", cluster, log));
}

TEST_CASE("an output folder that cannot hold the run is refused before it starts", "[checkpoint][output]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  if (cluster.rank() == 0) write_file(folder / "file", "");
  cluster.barrier("made");
  CHECK_NOTHROW(checkpoint::check_output(folder / "deep" / "run", 1 << 20, cluster));
  CHECK(names_in(folder / "deep" / "run").empty());

  const auto full =
      error_of([&] { checkpoint::check_output(folder / "run", std::int64_t{1} << 60, cluster); });
  CHECK(full.code() == ExitCode::cluster);
  CHECK_THAT(full.what(),
             Catch::Contains("run: no room for a checkpoint of 1024 PiB") || Catch::Contains("1048576 TiB"));
  for (const char* name : {"file", "file/run"}) {
    const auto error = error_of([&] { checkpoint::check_output(folder / name, 1, cluster); });
    CHECK(error.code() == ExitCode::cluster);
    CHECK_THAT(error.what(), Catch::Contains("cannot be made a folder"));
  }
}

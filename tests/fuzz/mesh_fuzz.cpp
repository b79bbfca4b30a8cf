// mesh_fuzz: is the training on a mesh that of one rank?
//
//   mesh_fuzz --seeds FIRST LAST   draws a job from each seed (model, data, mesh, schedule, ...) and
//                                  trains it on its mesh and on one rank
//   mesh_fuzz --list               prints every mesh of 1, 2, 4, 8 and 16 ranks that a tiny model fits on
//   mesh_fuzz --all                trains that model on each of them, for ten steps
//
//   --most-ranks N   draws and lists no larger meshes (16)
//   --ranks N        lists the meshes of so many ranks
//   --folder DIR     where the jobs run and those that failed stay (a new folder in the temporary one)
//
// A job that fails is told with its seed; its folder holds job, model and data, and how to run it by hand is
// told too. The exit code is 1 where any job failed.
//
// Built with the other tests. ctest runs 12 seeds on up to 8 ranks; for a long run
//   nice build/release/mesh_fuzz --seeds 1 500
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <unistd.h>

#include "tests/fuzz/compare.h"
#include "tests/fuzz/draw.h"
#include "tests/fuzz/mesh_list.h"
#include "tests/fuzz/run_jobs.h"
#include "tests/fuzz/train_jobs.h"

namespace moebius::fuzz {
namespace {

constexpr std::int64_t kDrawnAtOnce = 48;
/// Trainings of one rank that show how far rounding carries a job, and how much more a mesh may be off: so
/// few do not find the worst.
constexpr int kRoundings = 4;
constexpr double kBeyondRoundings = 10;

struct Arguments {
  enum class What : std::uint8_t { nothing, seeds, list, all, train } what = What::nothing;
  std::int64_t first = 0, last = 0;
  std::int64_t most_ranks = 16;
  std::optional<std::int64_t> ranks;
  std::filesystem::path folder;
  std::vector<JobFolder> folders;  // of --train
};

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string word = words[i];
    const auto next = [&] {
      if (++i == words.size()) throw std::runtime_error(word + " needs a value");
      return std::string(words[i]);
    };
    if (word == "--seeds") {
      arguments.what = Arguments::What::seeds;
      arguments.first = std::stoll(next());
      arguments.last = std::stoll(next());
    } else if (word == "--list") {
      arguments.what = Arguments::What::list;
    } else if (word == "--all") {
      arguments.what = Arguments::What::all;
    } else if (word == "--train") {
      arguments.what = Arguments::What::train;
      while (i + 1 < words.size()) arguments.folders.push_back({next()});
    } else if (word == "--most-ranks") {
      arguments.most_ranks = std::stoll(next());
    } else if (word == "--ranks") {
      arguments.ranks = std::stoll(next());
    } else if (word == "--folder") {
      arguments.folder = next();
    } else {
      throw std::runtime_error("unknown argument " + word);
    }
  }
  return arguments;
}

std::vector<FuzzJob> listed(const Arguments& arguments) {
  std::vector<FuzzJob> all;
  for (const std::int64_t ranks : {1, 2, 4, 8, 16}) {
    if (arguments.ranks ? ranks != *arguments.ranks : ranks > arguments.most_ranks) continue;
    for (FuzzJob& job : jobs_on_all_meshes(ranks)) all.push_back(std::move(job));
  }
  return all;
}

/// Prints verdicts and counts them.
class Tally {
 public:
  explicit Tally(const JobRunner& runner) : runner_(runner) {}

  void add(const FuzzJob& job, const Verdict& verdict) {
    ++counts_[std::size_t(verdict.kind)];
    constexpr std::array words_of_kinds{"same", "DIFFERENT", "FAILED", "HUNG"};
    std::string numbers;
    for (const auto& [name, limit] : kMeasures) {
      if (!verdict.differences.contains(name)) continue;
      const double off = difference(verdict.differences, name);
      numbers += fmt::format(" {} {:.1e}", name, off);
      if (verdict.kind == Verdict::Kind::same && off > worst_[name].first) worst_[name] = {off, job.name};
    }
    fmt::print("{}: {}{} | {}\n", job.name, words_of_kinds[std::size_t(verdict.kind)], numbers,
               describe(job));
    const std::filesystem::path folder = runner_.folder_of(job).path;
    if (verdict.kind == Verdict::Kind::same) {
      std::filesystem::remove_all(folder);
    } else {
      fmt::print(
          "  {}\n  run it by hand in {}:\n  mpirun -np {} moebius train mesh.toml; moebius train "
          "alone.toml\n",
          verdict.text, folder.string(), job.ranks);
    }
    std::fflush(stdout);
  }
  /// One more line for a job that turns out to be as far off on one rank.
  void excuse(const FuzzJob& job, const std::string& rounding) {
    --counts_[std::size_t(Verdict::Kind::different)];
    ++of_rounding_;
    fmt::print("{}: as far off is one rank whose weights differ in their last bits:{}\n", job.name, rounding);
    std::filesystem::remove_all(runner_.folder_of(job).path);
  }
  /// Returns the exit code.
  [[nodiscard]] int conclude() const {
    fmt::print("{} same, {} different, {} failed, {} hung", counts_[0], counts_[1], counts_[2], counts_[3]);
    if (of_rounding_ > 0) fmt::print(", {} as far off by rounding alone", of_rounding_);
    fmt::print("\nlargest differences:");
    for (const auto& [name, worst] : worst_) fmt::print(" {} {:.1e} ({})", name, worst.first, worst.second);
    fmt::print("\n");
    return counts_[1] + counts_[2] + counts_[3] == 0 ? 0 : 1;
  }

 private:
  const JobRunner& runner_;
  std::array<std::int64_t, 4> counts_{};
  std::int64_t of_rounding_ = 0;
  std::map<std::string, std::pair<double, std::string>> worst_;
};

/// Some jobs amplify rounding: a token whose two next best experts are equal to the last bits goes to one or
/// the other; the norm of a query that is nearly zero is mostly rounding. A difference that one rank shows as
/// well when its weights change in their last bits is of the job and not of the mesh. Returns those of one
/// rank; nothing where they do not explain the mesh's.
std::string rounding_of(const FuzzJob& job, const Verdict& verdict, const JobRunner& runner) {
  std::vector<FuzzJob> others;
  for (int attempt = 0; attempt < kRoundings; ++attempt) {
    others.push_back(with_other_rounding(job, attempt));
    runner.share_reference(job, others.back());
  }
  std::map<std::string, double> worst;
  runner.run(others, [&](const FuzzJob& other, const Verdict& of_rounding) {
    for (const auto& [name, limit] : kMeasures)
      worst[name] = std::max(worst[name], difference(of_rounding.differences, name));
    std::filesystem::remove_all(runner.folder_of(other).path);
  });
  std::string text;
  for (const auto& [name, limit] : kMeasures) {
    const double off = difference(verdict.differences, name);
    if (off <= limit) continue;
    if (off > kBeyondRoundings * worst[name]) return {};
    text += fmt::format(" {} {:.1e}", name, worst[name]);
  }
  return text;
}

int run_seeds(const Arguments& arguments, const JobRunner& runner) {
  Tally tally(runner);
  for (std::int64_t first = arguments.first; first <= arguments.last; first += kDrawnAtOnce) {
    std::vector<FuzzJob> jobs;
    for (std::int64_t seed = first; seed < first + kDrawnAtOnce && seed <= arguments.last; ++seed)
      jobs.push_back(draw(seed, arguments.most_ranks));
    std::vector<std::pair<FuzzJob, Verdict>> doubtful;
    runner.run(jobs, [&](const FuzzJob& job, const Verdict& verdict) {
      tally.add(job, verdict);
      if (verdict.kind == Verdict::Kind::different) doubtful.emplace_back(job, verdict);
    });
    for (const auto& [job, verdict] : doubtful) {
      const std::string rounding = rounding_of(job, verdict, runner);
      if (!rounding.empty()) tally.excuse(job, rounding);
    }
  }
  return tally.conclude();
}

/// One rank's run of the list is the same for all meshes: it is made once.
int run_list(const Arguments& arguments, const JobRunner& runner) {
  Tally tally(runner);
  const FuzzJob reference = jobs_on_all_meshes(1).front();
  runner.run(std::span(&reference, 1), [](const FuzzJob&, const Verdict&) {});
  std::vector<FuzzJob> jobs = listed(arguments);
  std::erase_if(jobs, [&](const FuzzJob& job) { return job.name == reference.name; });
  for (const FuzzJob& job : jobs) runner.share_reference(reference, job);
  runner.run(jobs, [&](const FuzzJob& job, const Verdict& verdict) { tally.add(job, verdict); });
  return tally.conclude();
}

int run(const Arguments& arguments, const std::filesystem::path& program) {
  using What = Arguments::What;
  if (arguments.what == What::train) return train_jobs(arguments.folders);
  if (arguments.what == What::list) {
    const std::vector<FuzzJob> jobs = listed(arguments);
    for (const FuzzJob& job : jobs) fmt::print("{}: {}\n", job.name, describe(job));
    fmt::print("{} meshes\n", jobs.size());
    return 0;
  }
  std::filesystem::path folder = arguments.folder;
  if (folder.empty())
    folder = std::filesystem::temp_directory_path() / fmt::format("moebius_mesh_fuzz_{}", ::getpid());
  std::filesystem::create_directories(folder);
  const JobRunner runner(program, std::filesystem::absolute(folder));
  const int code = arguments.what == What::all ? run_list(arguments, runner) : run_seeds(arguments, runner);
  if (code == 0 && arguments.folder.empty()) std::filesystem::remove_all(folder);
  return code;
}

}  // namespace
}  // namespace moebius::fuzz

int main(int count, char** words) {
  using namespace moebius::fuzz;
  try {
    const Arguments arguments = parse({words, std::size_t(count)});
    if (arguments.what != Arguments::What::nothing)
      return run(arguments, std::filesystem::read_symlink("/proc/self/exe"));
    fmt::print(stderr, "mesh_fuzz --seeds FIRST LAST | --list | --all; see tests/fuzz/mesh_fuzz.cpp\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 2;
}

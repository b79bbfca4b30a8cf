#pragma once
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/temporary_folder.h"

/// Runs the program as users run it, under mpirun, and keeps what it says.
namespace moebius::test {

inline std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char letter : word) text += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return text + "'";
}

struct Outcome {
  int exit_code = 0;
  std::string out, err;
};

/// The moebius binary with these arguments on `ranks` ranks (1: without mpirun), in `folder`.
class Program {
 public:
  /// `timeout`'s exit code for a run that hangs.
  static constexpr int kHung = 124;

  explicit Program(const TemporaryFolder& folder) : folder_(folder) {}

  /// `under`: words before the binary, those of a program that runs it.
  [[nodiscard]] Outcome run(int ranks, const std::vector<std::string>& arguments,
                            const std::vector<std::string>& under = {}) const {
    const std::string out = (folder_ / "stdout").string(), err = (folder_ / "stderr").string();
    const std::string line = "cd " + quoted(folder_.path().string()) + " && timeout --kill-after=10 600 " +
                             command(ranks, arguments, under) + " >" + quoted(out) + " 2>" + quoted(err) +
                             " </dev/null";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(out), slurp(err)};
  }
  [[nodiscard]] static std::string command(int ranks, const std::vector<std::string>& arguments,
                                           const std::vector<std::string>& under = {}) {
    std::string line =
        ranks == 1 ? "env OMP_NUM_THREADS=2 " : quoted(MPI_TEST_RUN) + " " + std::to_string(ranks) + " ";
    for (const std::string& word : under) line += quoted(word) + " ";
    line += quoted(MOEBIUS_BINARY);
    for (const std::string& argument : arguments) (line += " ") += quoted(argument);
    return line;
  }

 private:
  const TemporaryFolder& folder_;
};

}  // namespace moebius::test

#pragma once
#include <stdexcept>
#include <string>

namespace moebius {

/// What the process returns to the launcher. Fixed: queue scripts act on these numbers.
enum class ExitCode : int {
  done = 0,
  failure = 1,   // anything that has no number of its own
  usage = 2,     // bad command line or job file: do not retry
  input = 3,     // bad model, tokenizer, data or checkpoint file
  cluster = 4,   // ranks, fabric, memory or output folder failed the preflight
  diverged = 5,  // the loss or a gradient is not a number
  stopped = 75,  // stopped early on purpose with a checkpoint written: run me again
};

/// An error that a person will read: `what()` names the file, the place in it, the value and the cure.
/// Only main.cpp turns it into a message and an exit code; all ranks must have agreed to throw.
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, const std::string& message) : std::runtime_error(message), code_(exit_code) {}
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The command line or the job file asks for something that is wrong or not built.
struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(ExitCode::usage, message) {}
};

/// A model, tokenizer, data or checkpoint file is missing, malformed or does not fit the others.
struct InputError : Error {
  explicit InputError(const std::string& message) : Error(ExitCode::input, message) {}
};

/// The ranks, the fabric, the memory or the output folder cannot carry the job.
struct ClusterError : Error {
  explicit ClusterError(const std::string& message) : Error(ExitCode::cluster, message) {}
};

}  // namespace moebius

#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace moebius::cluster {

/// The process's environment as a value. commands/ fills it once; nothing below calls getenv, so a test can
/// be any launcher.
class Environment {
 public:
  /// From "NAME=value" entries that end with a null pointer: `Environment::of(environ)`.
  [[nodiscard]] static Environment of(const char* const* entries);
  [[nodiscard]] static Environment of(std::map<std::string, std::string> values);

  [[nodiscard]] std::optional<std::string> get(const std::string& name) const;
  /// The variable as a whole number; nothing where it is not set or not a number.
  [[nodiscard]] std::optional<std::int64_t> number(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;
};

/// The number of processes that a launcher says it started together with this one, and the variable that
/// says so. Nothing when the process was started alone.
struct LaunchedAs {
  std::int64_t ranks;
  std::string variable, cure;  // cure: what to do where MPI disagrees
};
[[nodiscard]] std::optional<LaunchedAs> launched_as(const Environment& environment);

/// Throws ClusterError where a launcher started several processes and MPI connects only `connected` = 1 of
/// them: each would run the whole job, all into the same output folder.
void refuse_singletons(const Environment& environment, std::int64_t connected);

}  // namespace moebius::cluster

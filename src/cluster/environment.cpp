#include "cluster/environment.h"

#include <charconv>
#include <fmt/format.h>
#include <string_view>

#include "base/error.h"

namespace moebius::cluster {

Environment Environment::of(const char* const* entries) {
  Environment environment;
  for (; entries != nullptr && *entries != nullptr; ++entries) {
    const std::string_view entry = *entries;
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    environment.values_.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return environment;
}

Environment Environment::of(std::map<std::string, std::string> values) {
  Environment environment;
  environment.values_ = std::move(values);
  return environment;
}

std::optional<std::string> Environment::get(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::int64_t> Environment::number(const std::string& name) const {
  const auto text = get(name);
  std::int64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return value;
}

namespace {

struct Launcher {
  const char *variable, *cure;
};

// The innermost launcher first: mpirun's daemons are themselves tasks of a Slurm step, whose size is not
// ours. SLURM_NTASKS and SLURM_PROCID are no sign, a batch script has them too; SLURM_STEP_NUM_TASKS stands
// only in what srun started.
constexpr Launcher kLaunchers[] = {
    {"OMPI_COMM_WORLD_SIZE",
     "use the mpirun that belongs to the Open MPI this program was built with, and make sure that "
     "LD_LIBRARY_PATH leads to the same one on every host"},
    {"PMI_SIZE",
     "this program is built with Open MPI, which does not understand this launcher: use Open MPI's mpirun, "
     "or "
     "srun --mpi=pmix"},
    {"SLURM_STEP_NUM_TASKS",
     "start it with srun --mpi=pmix (srun --mpi=list shows whether Slurm has it; Open MPI 5 knows no pmi2), "
     "or "
     "with mpirun inside the allocation; to run one rank alone in this step, use mpirun -np 1"},
};

}  // namespace

std::optional<LaunchedAs> launched_as(const Environment& environment) {
  for (const auto& [variable, cure] : kLaunchers) {
    const auto ranks = environment.number(variable);
    if (ranks && *ranks >= 1) return LaunchedAs{*ranks, variable, cure};
  }
  return std::nullopt;
}

void refuse_singletons(const Environment& environment, std::int64_t connected) {
  const auto launched = launched_as(environment);
  if (!launched || launched->ranks == 1 || connected > 1) return;
  throw ClusterError(fmt::format(
      "{} = {} says that {} processes were started together, but MPI connects this one to no other; {}",
      launched->variable, launched->ranks, launched->ranks, launched->cure));
}

}  // namespace moebius::cluster

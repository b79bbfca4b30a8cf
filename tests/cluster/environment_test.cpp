#include "cluster/environment.h"

#include "base/error.h"
#include "tests/support/catch.h"

namespace moebius::cluster {
namespace {

/// What refuse_singletons says where MPI connects `connected` processes; "" where it lets them pass.
std::string refusal(std::map<std::string, std::string> variables, std::int64_t connected = 1) {
  try {
    refuse_singletons(Environment::of(std::move(variables)), connected);
  } catch (const ClusterError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("an environment is read from the entries of a process") {
  const char* entries[] = {"A=1", "B=", "C=x=y", "no equals sign", nullptr};
  const Environment environment = Environment::of(entries);
  CHECK(environment.get("A") == "1");
  CHECK(environment.get("B") == "");
  CHECK(environment.get("C") == "x=y");
  CHECK(environment.get("D") == std::nullopt);
  CHECK(environment.number("A") == 1);
  CHECK(environment.number("B") == std::nullopt);
  CHECK(environment.number("C") == std::nullopt);
  CHECK(Environment().get("A") == std::nullopt);
}

TEST_CASE("several processes that MPI does not connect are refused with the launcher's cure") {
  const std::string slurm =
      refusal({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "2"}});
  CHECK(
      slurm ==
      "SLURM_STEP_NUM_TASKS = 4 says that 4 processes were started together, but MPI connects this one to no "
      "other; start it with srun --mpi=pmix (srun --mpi=list shows whether Slurm has it; Open MPI 5 knows no "
      "pmi2), or with mpirun inside the allocation; to run one rank alone in this step, use mpirun -np 1");
  CHECK(refusal({{"OMPI_COMM_WORLD_SIZE", "2"}}).find("OMPI_COMM_WORLD_SIZE = 2 says") == 0);
  CHECK(refusal({{"PMI_SIZE", "8"}}).find("PMI_SIZE = 8 says") == 0);
}

TEST_CASE("connected ranks and tools that run alone pass") {
  CHECK(refusal({}).empty());
  CHECK(refusal({{"SLURM_STEP_NUM_TASKS", "4"}}, 4).empty());
  // A batch script: the allocation has 8 tasks, but this process was not started by srun.
  CHECK(refusal({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}).empty());
  // mpirun -np 1 on a host where mpirun's own daemon is one of 3 tasks of a Slurm step.
  CHECK(refusal({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}}).empty());
  CHECK(refusal({{"SLURM_STEP_NUM_TASKS", "1"}}).empty());
  CHECK(refusal({{"SLURM_STEP_NUM_TASKS", "several"}}).empty());
}

}  // namespace moebius::cluster

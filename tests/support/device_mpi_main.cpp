#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include <mpi.h>

#include <cstdio>
#include <cstdlib>

#include "kernels/device/device.h"
#include "parallel/device/exchange_nccl.h"
#include "tests/support/catch.h"

namespace {

constexpr int kSkipped = 77;  // what ctest takes for skipped, see tests/CMakeLists.txt

bool every_rank_has_a_gpu() {
  int has_one = moebius::kernels::device_count() > 0 ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &has_one, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return has_one == 1;
}

}  // namespace

/// As mpi_main.cpp, for cases that need a GPU: skipped on all ranks where one rank has none.
int main(int argc, char** argv) {
  for (const auto& [name, value] : moebius::parallel::nccl_environment())
    ::setenv(name.c_str(), value.c_str(), 0);
  int provided = 0, rank = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (!every_rank_has_a_gpu()) {
    if (rank == 0) std::puts("a rank has no GPU: skipped");
    MPI_Finalize();
    return kSkipped;
  }
  Catch::Session session;
  session.configData().abortAfter = 1;
  const int status = session.applyCommandLine(argc, argv);
  const int failures = status != 0 ? status : session.run();
  if (failures != 0) {
    std::fprintf(stderr, "rank %d: %d failures\n", rank, failures);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}

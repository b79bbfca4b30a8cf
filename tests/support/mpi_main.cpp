#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include <mpi.h>

#include <cstdio>

#include "tests/support/catch.h"

/// Starts MPI, runs the cases on every rank, and fails on all ranks when they failed on one. A rank whose
/// cases failed aborts, because the others may wait for it in a collective.
int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
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

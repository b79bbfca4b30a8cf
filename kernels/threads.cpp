#include "kernels/threads.h"

#include <omp.h>

namespace moebius::kernels {

int usable_cores() {
  return omp_get_num_procs();
}

void set_threads(int count) {
  omp_set_num_threads(count);
}

}  // namespace moebius::kernels

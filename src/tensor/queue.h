#pragma once
#include "tensor/view.h"

struct CUstream_st;  // the CUDA runtime's own type, named here so that no header needs the toolkit

namespace moebius {

namespace kernels {
class Device;
}

/// Where an operation runs: the last argument of every twin, so that code written over Space calls both
/// alike. Host work is done when the call returns; device work is queued on a stream, in order.
template <Space S>
struct Queue;

template <Space S>
class PhaseClock;  // phase_clock.h: which part of a step takes how long

template <>
struct Queue<Space::host> {
  PhaseClock<Space::host>* clock = nullptr;  // null: nobody asks
};

template <>
struct Queue<Space::device> {
  CUstream_st* stream = nullptr;               // a cudaStream_t
  kernels::Device* device = nullptr;           // whose stream it is, with the handles of its libraries
  PhaseClock<Space::device>* clock = nullptr;  // null: nobody asks
};

}  // namespace moebius

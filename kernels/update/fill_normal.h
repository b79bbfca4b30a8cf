#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/random.h"
#include "tensor/view.h"

/// Normally distributed numbers, each a function of its place in the whole tensor alone:
///
///   y[i] = deviation * Random{seed, stream, tensor}.normal(first_index + i)
///
/// computed in double, rounded to fp32 and then to T (float or bf16). The twins' double arithmetic may differ
/// in its last bit, so about one result in 10^8 does after rounding.
namespace moebius::kernels {

template <class T, Space S>
struct FillNormal {
  View<T, 1, S> y;  // [count]; a run of a tensor
  std::uint64_t seed = 0;
  RandomStream stream = RandomStream::initialisation;
  std::uint32_t tensor = 0;      // tensor_id of the whole tensor
  std::int64_t first_index = 0;  // of y[0] in it
  double deviation = 1;
};

template <class T>
void fill_normal(const FillNormal<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void fill_normal(const FillNormal<T, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels

#pragma once
#include <cuda_runtime_api.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/device/device.h"
#include "tensor/device/check.h"
#include "tests/support/tensors.h"

namespace moebius::test {

template <class T, int Rank>
using DeviceTensor = Tensor<T, Rank, Space::device>;

/// 0xFF bytes: NaN in every floating type, -1 in integers. An output that is not written shows.
template <class T, int Rank>
void poison(const DeviceTensor<T, Rank>& tensor) {
  check(cudaMemset(tensor.data(), 0xff, std::size_t(tensor.count()) * sizeof(T)));
  check(cudaDeviceSynchronize());  // a device's stream does not wait for the default one
}

/// On the device, with the values of a host tensor rounded to T; waits.
template <class T, class From, int Rank>
void put(const Tensor<From, Rank>& from, const DeviceTensor<T, Rank>& to) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < from.count(); ++i) values.push_back(T(from[i]));
  check(cudaMemcpy(to.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  check(cudaDeviceSynchronize());
}

/// The values of a device tensor, widened to To; waits for everything on the device.
template <class To, class T, int Rank>
std::vector<To> values_of(const DeviceTensor<T, Rank>& from) {
  check(cudaDeviceSynchronize());
  std::vector<T> raw(std::size_t(from.count()));
  check(cudaMemcpy(raw.data(), from.data(), raw.size() * sizeof(T), cudaMemcpyDeviceToHost));
  return {raw.begin(), raw.end()};
}

/// Rounds every value to T and back, so that both twins start from the same numbers.
template <class T, int Rank>
void round_to(const Tensor<float, Rank>& tensor) {
  for (std::int64_t i = 0; i < tensor.count(); ++i) tensor[i] = float(T(tensor[i]));
}

/// ||got - expected|| / ||expected||; infinite where a value is not finite or the sizes differ.
template <class A, class B>
double relative_error(const std::vector<A>& got, const std::vector<B>& expected) {
  double difference = 0, norm = 0;
  if (got.size() != expected.size()) return std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double a = double(got[i]), b = double(expected[i]);
    if (!std::isfinite(a)) return std::numeric_limits<double>::infinity();
    difference += (a - b) * (a - b);
    norm += b * b;
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

/// What a device twin may differ from its host twin by, as relative_error: fp32 results are sums in another
/// order (1e-5); bf16 results are rounded once more at the end and perhaps in between (half an ulp is 2^-9 at
/// most, 2^-9 / sqrt(3) in the mean: 1e-2 leaves room for a handful of roundings).
template <class T>
inline constexpr double kTolerance = sizeof(T) == 4 ? 1e-5 : 1e-2;

}  // namespace moebius::test

#pragma once
#include <span>

#include "tensor/queue.h"
#include "tensor/view.h"

/// The cosines and sines of rotary position embedding (Su et al. 2021, arXiv:2104.09864).
///
///   angle[p,i] = p * inverse_frequencies[i]      cosine[p,i] = factor * cos(angle)      sine likewise
///
/// Rounded where Hugging Face rounds: the inverse frequency and the angle are fp32 numbers; the cosine of
/// that angle is then exact to fp32. The model computes the frequencies (theta, and what rope_scaling does to
/// them) and the factor (yarn's attention factor, otherwise 1).
namespace moebius::kernels {

template <Space S>
struct RopeTable {
  std::span<const double> inverse_frequencies;  // [rotary_dim / 2], in host memory
  double factor = 1;
  View<float, 2, S> cosine, sine;  // [positions, rotary_dim / 2]
};

void fill_rope_table(const RopeTable<Space::host>&, Queue<Space::host> = {});
void fill_rope_table(const RopeTable<Space::device>&, Queue<Space::device>);

template <Space S>
void expect_shapes(const RopeTable<S>& op) {
  const std::int64_t positions = op.cosine.shape[0], half = std::int64_t(op.inverse_frequencies.size());
  expect_shape("rope_table.cosine", op.cosine, {positions, half});
  expect_shape("rope_table.sine", op.sine, {positions, half});
}

}  // namespace moebius::kernels

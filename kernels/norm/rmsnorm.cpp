#include "kernels/norm/rmsnorm.h"

#include <cmath>

#include "kernels/numeric/column_sums.h"

namespace moebius::kernels {
namespace {

template <class T>
float inverse_rms(const T* x, std::int64_t hidden, float epsilon) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < hidden; ++c) sum += float(x[c]) * float(x[c]);
  return 1 / std::sqrt(sum / float(hidden) + epsilon);
}

template <class T>
void normalise(const T* x, const View<const T, 1, Space::host>& gain, float inv_rms, T* y) {
#pragma omp simd
  for (std::int64_t c = 0; c < gain.shape[0]; ++c) y[c] = T(float(T(float(x[c]) * inv_rms)) * float(gain(c)));
}

/// One token: dx (with `add`, where there is one) and this token's part of dgain.
///
///   dx = inv_rms * (g - x * inv_rms^2 * mean_c(g * x)),  g = dy * gain        dgain += dy * x * inv_rms
template <class T>
void backward_row(const RmsNormBackward<T, Space::host>& op, std::int64_t t, float* dgain) {
  const std::int64_t hidden = op.x.shape[1];
  const T *dy = &op.dy(t, 0), *x = &op.x(t, 0), *gain = op.gain.data;
  const T* add = op.add.empty() ? nullptr : &op.add(t, 0);
  T* dx = &op.dx(t, 0);
  const float inv_rms = op.inv_rms(t);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < hidden; ++c) sum += float(dy[c]) * float(gain[c]) * float(x[c]);
  if (dgain != nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < hidden; ++c) dgain[c] += float(dy[c]) * float(x[c]) * inv_rms;
  }
  const float projection = sum / float(hidden) * inv_rms * inv_rms;
  if (add == nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < hidden; ++c) {
      dx[c] = T(inv_rms * (float(dy[c]) * float(gain[c]) - float(x[c]) * projection));
    }
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < hidden; ++c) {
    dx[c] = T(inv_rms * (float(dy[c]) * float(gain[c]) - float(x[c]) * projection) + float(add[c]));
  }
}

}  // namespace

template <class T>
void rmsnorm_forward(const RmsNormForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.x.shape[0], hidden = op.x.shape[1];
#pragma omp parallel for schedule(static) if (tokens > 8)
  for (std::int64_t t = 0; t < tokens; ++t) {
    op.inv_rms(t) = inverse_rms(&op.x(t, 0), hidden, op.epsilon);
    normalise(&op.x(t, 0), op.gain, op.inv_rms(t), &op.y(t, 0));
  }
}

template <class T>
void add_rmsnorm_forward(const AddRmsNormForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.x.shape[0], hidden = op.x.shape[1];
#pragma omp parallel for schedule(static) if (tokens > 8)
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T *x = &op.x(t, 0), *delta = &op.delta(t, 0);
    T* sum = &op.sum(t, 0);
#pragma omp simd
    for (std::int64_t c = 0; c < hidden; ++c) sum[c] = T(float(x[c]) + float(delta[c]));
    op.inv_rms(t) = inverse_rms(sum, hidden, op.epsilon);
    normalise<T>(sum, op.gain, op.inv_rms(t), &op.y(t, 0));
  }
}

template <class T>
void rmsnorm_backward(const RmsNormBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  add_column_sums(op.x.shape[0], op.dgain, op.into,
                  [&](std::int64_t t, float* dgain) { backward_row(op, t, dgain); });
}

template void rmsnorm_forward(const RmsNormForward<float, Space::host>&, Queue<Space::host>);
template void rmsnorm_forward(const RmsNormForward<bf16, Space::host>&, Queue<Space::host>);
template void add_rmsnorm_forward(const AddRmsNormForward<float, Space::host>&, Queue<Space::host>);
template void add_rmsnorm_forward(const AddRmsNormForward<bf16, Space::host>&, Queue<Space::host>);
template void rmsnorm_backward(const RmsNormBackward<float, Space::host>&, Queue<Space::host>);
template void rmsnorm_backward(const RmsNormBackward<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels

#include "kernels/attention/qk_norm_rope.h"

#include <cmath>
#include <vector>

#include "kernels/numeric/column_sums.h"

namespace moebius::kernels {
namespace {

/// One row of the tables: the turn of one token.
struct Turn {
  const float *cosine, *sine;
  std::int64_t half;
};

template <class Op>
Turn turn_of(const Op& op, std::int64_t token) {
  const std::int64_t half = op.cosine.shape[1];
  const std::int64_t offset = op.positions(token) * half;
  return {op.cosine.data + offset, op.sine.data + offset, half};
}

template <class T>
void rotate(const T* x, const Turn& turn, T* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < turn.half; ++i) {
    const float low = float(x[i]), high = float(x[i + turn.half]);
    y[i] = T(low * turn.cosine[i] - high * turn.sine[i]);
    y[i + turn.half] = T(high * turn.cosine[i] + low * turn.sine[i]);
  }
}

template <class T>
void rotate_back(const T* dy, const Turn& turn, T* dx) {
#pragma omp simd
  for (std::int64_t i = 0; i < turn.half; ++i) {
    const float low = float(dy[i]), high = float(dy[i + turn.half]);
    dx[i] = T(low * turn.cosine[i] + high * turn.sine[i]);
    dx[i + turn.half] = T(high * turn.cosine[i] - low * turn.sine[i]);
  }
}

/// Normalises one head into y; returns inv_rms.
template <class T>
float normalise(const T* x, const View<const T, 1, Space::host>& gain, float epsilon, T* y) {
  const std::int64_t head_dim = gain.shape[0];
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < head_dim; ++i) sum += float(x[i]) * float(x[i]);
  const float inv_rms = 1 / std::sqrt(sum / float(head_dim) + epsilon);
#pragma omp simd
  for (std::int64_t i = 0; i < head_dim; ++i) y[i] = T(float(T(float(x[i]) * inv_rms)) * float(gain(i)));
  return inv_rms;
}

/// Turns the gradient of a normalised head into that of the head, in place, and adds to the gain's gradient.
template <class T>
void normalise_backward(const T* x, const View<const T, 1, Space::host>& gain, float inv_rms, T* gradient,
                        float* dgain) {
  const std::int64_t head_dim = gain.shape[0];
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < head_dim; ++i) sum += float(gradient[i]) * float(gain(i)) * float(x[i]);
  const float projection = sum / float(head_dim) * inv_rms * inv_rms;
  if (dgain != nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < head_dim; ++i) dgain[i] += float(gradient[i]) * float(x[i]) * inv_rms;
  }
#pragma omp simd
  for (std::int64_t i = 0; i < head_dim; ++i) {
    gradient[i] = T(inv_rms * (float(gradient[i]) * float(gain(i)) - float(x[i]) * projection));
  }
}

template <class Op>
void expect_positions_in_tables(const Op& op) {
  for (std::int64_t t = 0; t < op.positions.shape[0]; ++t) {
    if (op.positions(t) >= 0 && op.positions(t) < op.cosine.shape[0]) continue;
    throw ShapeError("qk_norm_rope.positions: " + std::to_string(op.positions(t)) + " at token " +
                     std::to_string(t) + ", tables of " + std::to_string(op.cosine.shape[0]) + " rows");
  }
}

template <class T>
void forward_token(const QkNormRopeForward<T, Space::host>& op, std::int64_t t) {
  const std::int64_t all_heads = op.heads + op.kv_heads, head_dim = op.x.columns / all_heads;
  const Turn turn = turn_of(op, t);
  for (std::int64_t h = 0; h < all_heads; ++h) {
    const T* x = op.x.row(t) + h * head_dim;
    T* y = head_of(op.q, op.k, t, h, head_dim);
    if (!op.q_gain.empty()) {
      op.inv_rms(t, h) = normalise(x, h < op.heads ? op.q_gain : op.k_gain, op.epsilon, y);
    } else if (x != y) {
      std::copy_n(x, head_dim, y);
    }
    rotate<T>(y, turn, y);
  }
}

template <class T>
void backward_token(const QkNormRopeBackward<T, Space::host>& op, std::int64_t t, float* dgains) {
  const std::int64_t all_heads = op.heads + op.kv_heads, head_dim = op.dx.columns / all_heads;
  const Turn turn = turn_of(op, t);
  for (std::int64_t h = 0; h < all_heads; ++h) {
    const T* dy = head_of(op.dq, op.dk, t, h, head_dim);
    T* dx = op.dx.row(t) + h * head_dim;
    if (dx != dy) std::copy_n(dy, head_dim, dx);
    rotate_back<T>(dx, turn, dx);
    if (op.q_gain.empty()) continue;
    const bool is_query = h < op.heads;
    float* dgain = dgains == nullptr ? nullptr : dgains + (is_query ? 0 : head_dim);
    normalise_backward(op.x.row(t) + h * head_dim, is_query ? op.q_gain : op.k_gain, op.inv_rms(t, h), dx,
                       dgain);
  }
}

}  // namespace

template <class T>
void qk_norm_rope_forward(const QkNormRopeForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_positions_in_tables(op);
#pragma omp parallel for schedule(static) if (op.x.rows > 8)
  for (std::int64_t t = 0; t < op.x.rows; ++t) forward_token(op, t);
}

template <class T>
void qk_norm_rope_backward(const QkNormRopeBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_positions_in_tables(op);
  const bool wants_dgains = !op.q_dgain.empty() || !op.k_dgain.empty();
  const std::int64_t head_dim = op.q_gain.shape[0];
  std::vector<float> dgains(wants_dgains ? std::size_t(2 * head_dim) : 0, 0.0f);  // of q, then of k
  add_column_sums(op.dx.rows, {dgains.data(), {std::int64_t(dgains.size())}}, Into::overwrite,
                  [&](std::int64_t t, float* sums) { backward_token(op, t, sums); });
  const auto take_in = [&](View<float, 1, Space::host> dgain, const float* sums) {
    for (std::int64_t i = 0; i < (dgain.empty() ? 0 : head_dim); ++i)
      dgain(i) = (op.into == Into::add ? dgain(i) : 0) + sums[i];
  };
  take_in(op.q_dgain, dgains.data());
  take_in(op.k_dgain, dgains.data() + head_dim);
}

template void qk_norm_rope_forward(const QkNormRopeForward<float, Space::host>&, Queue<Space::host>);
template void qk_norm_rope_backward(const QkNormRopeBackward<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels

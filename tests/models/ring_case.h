#pragma once
#include <cmath>

#include "kernels/attention/attention.h"
#include "models/batch.h"
#include "tests/support/tensors.h"

/// Attention of whole samples, and what a context rank has of it.
namespace moebius::test {

struct RingHeads {
  std::int64_t heads = 4, kv_heads = 2, head_dim = 16;
  [[nodiscard]] float scale() const { return 1 / std::sqrt(float(head_dim)); }
};

/// Samples of these lengths, end to end, and what attention of them takes and gives.
struct WholeSamples {
  RingHeads sizes;
  std::vector<std::int32_t> starts{0}, ids, positions, targets;
  std::int64_t rows;
  Tensor<float, 2> q, k, v, dy, y, log_sum_exp, dq, dk, dv;

  explicit WholeSamples(const std::vector<std::int32_t>& lengths, RingHeads given = {})
      : sizes(given),
        rows(list(lengths)),
        q({rows, sizes.heads * sizes.head_dim}),
        k({rows, sizes.kv_heads * sizes.head_dim}),
        v(k.shape()),
        dy(q.shape()),
        y(q.shape()),
        log_sum_exp({rows, sizes.heads}),
        dq(q.shape()),
        dk(k.shape()),
        dv(k.shape()) {
    fill_normal(q, 1, 2), fill_normal(k, 2), fill_normal(v, 3), fill_normal(dy, 4);
  }
  template <Space S = Space::host>
  [[nodiscard]] models::HostBatch share(const cluster::Mesh& mesh) const {
    return {{.ids = ids, .positions = positions, .targets = targets, .starts = starts},
            models::token_share<S>(mesh)};
  }
  /// Results of attention, one sample a segment.
  void run() const;

 private:
  std::int64_t list(const std::vector<std::int32_t>& lengths) {
    for (const std::int32_t length : lengths) {
      for (std::int32_t i = 0; i < length; ++i) positions.push_back(i);
      starts.push_back(starts.back() + length);
    }
    // The id and the target of a token are its place.
    for (std::int32_t t = 0; t < starts.back(); ++t) ids.push_back(t);
    targets = ids;
    return starts.back();
  }
};

/// Rows of a whole tensor that are here, padding as zeros.
inline void take_rows(const Tensor<float, 2>& whole, const std::vector<std::int32_t>& tokens,
                      const Tensor<float, 2>& here) {
  for (std::size_t row = 0; row < tokens.size(); ++row)
    std::copy_n(&whole.view()(tokens[row], 0), whole.shape()[1], &here.view()(std::int64_t(row), 0));
}

/// The operations on `in`, with results in the same object.
template <class In>
kernels::AttentionForward<float, Space::host> forward_of(const In& in,
                                                         const kernels::Segments<Space::host>& segments) {
  return {.q = in.q.view(),
          .k = in.k.view(),
          .v = in.v.view(),
          .segments = segments,
          .y = in.y.view(),
          .log_sum_exp = in.log_sum_exp.view(),
          .heads = in.sizes.heads,
          .kv_heads = in.sizes.kv_heads,
          .scale = in.sizes.scale()};
}
template <class In>
kernels::AttentionBackward<float, Space::host> backward_of(const In& in,
                                                           const kernels::Segments<Space::host>& segments) {
  return {.dy = in.dy.view(),
          .q = in.q.view(),
          .y = in.y.view(),
          .k = in.k.view(),
          .v = in.v.view(),
          .segments = segments,
          .log_sum_exp = in.log_sum_exp.view(),
          .dq = in.dq.view(),
          .dk = in.dk.view(),
          .dv = in.dv.view(),
          .heads = in.sizes.heads,
          .kv_heads = in.sizes.kv_heads,
          .scale = in.sizes.scale()};
}

inline void WholeSamples::run() const {
  const View<const std::int32_t, 1, Space::host> list(starts.data(), {std::int64_t(starts.size())});
  kernels::attention_forward(forward_of(*this, {.query_starts = list, .key_starts = list}));
  kernels::attention_backward(backward_of(*this, {.query_starts = list, .key_starts = list}));
}

}  // namespace moebius::test

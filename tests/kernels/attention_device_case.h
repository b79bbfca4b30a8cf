#pragma once
#include <cmath>

#include "kernels/attention/attention.h"
#include "tests/support/device_tensors.h"

/// One attention on the host, the same on the device, and how far their results are apart.
namespace moebius::test {

struct AttentionTestSizes {
  std::vector<std::int32_t> query_starts, key_starts, key_counts;  // no key_starts: as query_starts
  std::int64_t query_rows, key_rows, heads, kv_heads, head_dim;
  std::int64_t longest = 0, padding = 0;
  float score_shift = 0;          // added to all scores, about
  float unowned = std::nanf("");  // what inputs hold in rows behind the last segment
  std::vector<std::int32_t> query_counts = {};
  kernels::Mask mask = kernels::Mask::causal;
  std::int64_t longest_keys = 0;

  [[nodiscard]] float scale() const { return 1 / std::sqrt(float(head_dim)); }
  [[nodiscard]] const std::vector<std::int32_t>& starts_of_keys() const {
    return key_starts.empty() ? query_starts : key_starts;
  }
};

/// Training: segments of these lengths, then padding.
inline AttentionTestSizes segments_of(const std::vector<std::int32_t>& lengths, std::int64_t rows,
                                      std::array<std::int64_t, 3> heads_kv_heads_head_dim) {
  AttentionTestSizes sizes{.query_starts = {0},
                           .key_starts = {},
                           .key_counts = {},
                           .query_rows = rows,
                           .key_rows = rows,
                           .heads = heads_kv_heads_head_dim[0],
                           .kv_heads = heads_kv_heads_head_dim[1],
                           .head_dim = heads_kv_heads_head_dim[2]};
  for (const std::int32_t length : lengths) {
    sizes.query_starts.push_back(sizes.query_starts.back() + length);
    sizes.longest = std::max<std::int64_t>(sizes.longest, length);
  }
  sizes.padding = rows - sizes.query_starts.back();
  return sizes;
}

/// What both sides compute, as numbers on the host.
struct AttentionResults {
  std::vector<float> y, log_sum_exp, dq, dk, dv;
};

/// Inputs hold numbers of T.
template <class T>
struct HostAttention {
  AttentionTestSizes sizes;
  Tensor<float, 2> q, k, v, y, dy, dq, dk, dv, log_sum_exp;

  explicit HostAttention(AttentionTestSizes given)
      : sizes(std::move(given)),
        q({sizes.query_rows, sizes.heads * sizes.head_dim}),
        k({sizes.key_rows, sizes.kv_heads * sizes.head_dim}),
        v(k.shape()),
        y(q.shape()),
        dy(q.shape()),
        dq(q.shape()),
        dk(k.shape()),
        dv(k.shape()),
        log_sum_exp({sizes.query_rows, sizes.heads}) {
    fill_normal(q, 1), fill_normal(k, 2), fill_normal(v, 3), fill_normal(dy, 4);
    // q + a and k -+ a have a product that is -+ a^2 head_dim larger.
    const float a = std::sqrt(std::abs(sizes.score_shift) / std::sqrt(float(sizes.head_dim)));
    for (std::int64_t i = 0; i < q.count(); ++i) q[i] += a;
    for (std::int64_t i = 0; i < k.count(); ++i) k[i] += std::copysign(a, sizes.score_shift);
    for (const auto* queries : {&q, &dy}) fill_unowned(*queries, sizes.query_starts.back());
    for (const auto* keys : {&k, &v}) fill_unowned(*keys, sizes.starts_of_keys().back());
    for (const auto* input : {&q, &k, &v, &dy}) round_to<T>(*input);
  }

  kernels::Segments<Space::host> segments() const {
    const auto view = [](const std::vector<std::int32_t>& values) {
      return View<const std::int32_t, 1, Space::host>(values.data(), {std::int64_t(values.size())});
    };
    return {.query_starts = view(sizes.query_starts),
            .key_starts = view(sizes.starts_of_keys()),
            .key_counts = view(sizes.key_counts),
            .query_counts = view(sizes.query_counts),
            .mask = sizes.mask};
  }
  AttentionResults run() {
    kernels::attention_forward(
        kernels::AttentionForward<float, Space::host>{.q = q.view(),
                                                      .k = k.view(),
                                                      .v = v.view(),
                                                      .segments = segments(),
                                                      .y = y.view(),
                                                      .log_sum_exp = log_sum_exp.view(),
                                                      .heads = sizes.heads,
                                                      .kv_heads = sizes.kv_heads,
                                                      .scale = sizes.scale()});
    kernels::attention_backward(
        kernels::AttentionBackward<float, Space::host>{.dy = dy.view(),
                                                       .q = q.view(),
                                                       .y = y.view(),
                                                       .k = k.view(),
                                                       .v = v.view(),
                                                       .segments = segments(),
                                                       .log_sum_exp = log_sum_exp.view(),
                                                       .dq = dq.view(),
                                                       .dk = dk.view(),
                                                       .dv = dv.view(),
                                                       .heads = sizes.heads,
                                                       .kv_heads = sizes.kv_heads,
                                                       .scale = sizes.scale()});
    return {y.values(), log_sum_exp.values(), dq.values(), dk.values(), dv.values()};
  }

 private:
  void fill_unowned(const Tensor<float, 2>& tensor, std::int64_t first_row) const {
    for (std::int64_t i = first_row * tensor.shape()[1]; i < tensor.count(); ++i) tensor[i] = sizes.unowned;
  }
};

/// v and dv are the last columns of a buffer that has `columns_before` others: in training q and k before
/// their norm.
template <class T>
struct DeviceAttention {
  const AttentionTestSizes& sizes;
  std::int64_t columns_before;
  DeviceTensor<std::int32_t, 1> query_starts, key_starts, key_counts, query_counts;
  DeviceTensor<T, 2> q, k, wide_v, y, dy, dq, dk, wide_dv;
  DeviceTensor<float, 2> log_sum_exp;

  DeviceAttention(const HostAttention<T>& host, std::int64_t other_columns)
      : sizes(host.sizes),
        columns_before(other_columns),
        query_starts({std::int64_t(sizes.query_starts.size())}),
        key_starts({std::int64_t(sizes.key_starts.size())}),
        key_counts({std::int64_t(sizes.key_counts.size())}),
        query_counts({std::int64_t(sizes.query_counts.size())}),
        q(host.q.shape()),
        k(host.k.shape()),
        wide_v({sizes.key_rows, columns_before + k.shape()[1]}),
        y(q.shape()),
        dy(q.shape()),
        dq(q.shape()),
        dk(k.shape()),
        wide_dv(wide_v.shape()),
        log_sum_exp(host.log_sum_exp.shape()) {
    put(host.q, q), put(host.k, k), put(host.dy, dy);
    const Tensor<float, 2> wide(wide_v.shape());
    fill(wide, sizes.unowned);
    for (std::int64_t row = 0; row < sizes.key_rows; ++row)
      std::copy_n(&host.v.view()(row, 0), k.shape()[1], &wide.view()(row, columns_before));
    put(wide, wide_v);
    put_list(sizes.query_starts, query_starts), put_list(sizes.key_starts, key_starts);
    put_list(sizes.key_counts, key_counts), put_list(sizes.query_counts, query_counts);
    poison_outputs();
  }

  /// Waits.
  void poison_outputs() const {
    poison(y), poison(log_sum_exp);
    poison_gradients();
  }
  void poison_gradients() const {
    poison(dq), poison(dk), poison(wide_dv);
    check(cudaDeviceSynchronize());
  }
  [[nodiscard]] kernels::AttentionForward<T, Space::device> forward() const {
    return {.q = q.view(),
            .k = k.view(),
            .v = values_in(wide_v),
            .segments = segments(),
            .y = y.view(),
            .log_sum_exp = log_sum_exp.view(),
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads,
            .scale = sizes.scale()};
  }
  [[nodiscard]] kernels::AttentionBackward<T, Space::device> backward() const {
    return {.dy = dy.view(),
            .q = q.view(),
            .y = y.view(),
            .k = k.view(),
            .v = values_in(wide_v),
            .segments = segments(),
            .log_sum_exp = log_sum_exp.view(),
            .dq = dq.view(),
            .dk = dk.view(),
            .dv = values_in(wide_dv),
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads,
            .scale = sizes.scale()};
  }
  /// Waits. dv is infinite where columns beside it were written.
  [[nodiscard]] AttentionResults results() const {
    AttentionResults all{
        values_of<float>(y), values_of<float>(log_sum_exp), values_of<float>(dq), values_of<float>(dk), {}};
    const std::vector<float> wide = values_of<float>(wide_dv);
    const std::int64_t columns = wide_dv.shape()[1];
    for (std::int64_t i = 0; i < wide_dv.count(); ++i) {
      const float value = wide[std::size_t(i)];
      if (i % columns >= columns_before) {
        all.dv.push_back(value);
      } else if (!std::isnan(value)) {
        all.dv.push_back(INFINITY);
      }
    }
    return all;
  }

 private:
  static void put_list(const std::vector<std::int32_t>& from, const DeviceTensor<std::int32_t, 1>& to) {
    check(cudaMemcpy(to.data(), from.data(), from.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice));
  }
  [[nodiscard]] Matrix<T, Space::device> values_in(const DeviceTensor<T, 2>& wide) const {
    return Matrix<T, Space::device>(wide.view()).column_block(columns_before, k.shape()[1]);
  }
  [[nodiscard]] kernels::Segments<Space::device> segments() const {
    return {.query_starts = query_starts.view(),
            .key_starts = sizes.key_starts.empty() ? query_starts.view() : key_starts.view(),
            .key_counts = key_counts.view(),
            .query_counts = query_counts.view(),
            .mask = sizes.mask,
            .longest = sizes.longest,
            .longest_keys = sizes.longest_keys,
            .padding = sizes.padding};
  }
};

/// relative_error of each result.
struct AttentionErrors {
  double y, log_sum_exp, dq, dk, dv;
};
/// Of dq and dk in proportion to dv where they are next to nothing: a query that sees one key has no
/// gradient, and what is left of it is rounding.
inline AttentionErrors errors_of(const AttentionResults& got, const AttentionResults& expected) {
  const auto beside_dv = [&](const auto& part, const auto& expected_part) {
    auto values = part, expected_values = expected_part;
    values.insert(values.end(), got.dv.begin(), got.dv.end());
    expected_values.insert(expected_values.end(), expected.dv.begin(), expected.dv.end());
    return relative_error(values, expected_values);
  };
  return {relative_error(got.y, expected.y), relative_error(got.log_sum_exp, expected.log_sum_exp),
          std::min(relative_error(got.dq, expected.dq), beside_dv(got.dq, expected.dq)),
          std::min(relative_error(got.dk, expected.dk), beside_dv(got.dk, expected.dk)),
          relative_error(got.dv, expected.dv)};
}

}  // namespace moebius::test

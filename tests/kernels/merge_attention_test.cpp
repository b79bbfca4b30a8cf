#include "kernels/attention/merge_attention.h"

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/update/block_copy.h"
#include "tests/kernels/checks.h"

// Attention whose keys come in parts equals attention over all of them.

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

constexpr std::int64_t kHeads = 4, kKvHeads = 2, kHeadDim = 24;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
using List = std::vector<std::int32_t>;

View<const std::int32_t, 1, Space::host> view(const List& values) {
  return {values.data(), {std::int64_t(values.size())}};
}

/// Lists of segments, in memory of their own.
struct Lists {
  List query_starts, query_counts, key_starts, key_counts;

  [[nodiscard]] Segments<Space::host> segments(Mask mask) const {
    return {.query_starts = view(query_starts),
            .key_starts = view(key_starts),
            .key_counts = view(key_counts),
            .query_counts = view(query_counts),
            .mask = mask};
  }
  void add(Range queries, Range keys) {
    query_starts.push_back(std::int32_t(queries.begin)), query_counts.push_back(std::int32_t(queries.size()));
    key_starts.push_back(std::int32_t(keys.begin)), key_counts.push_back(std::int32_t(keys.size()));
  }
  void end(std::int64_t rows) {
    query_starts.push_back(std::int32_t(rows)), key_starts.push_back(std::int32_t(rows));
  }
};

struct Inputs {
  std::int64_t rows;
  Tensor<float, 2> q, k, v, dy;
  explicit Inputs(std::int64_t count)
      : rows(count),
        q({rows, kHeads * kHeadDim}),
        k({rows, kKvHeads * kHeadDim}),
        v(k.shape()),
        dy(q.shape()) {
    fill_normal(q, 1, 2), fill_normal(k, 2), fill_normal(v, 3), fill_normal(dy, 4);
  }
};

struct Outputs {
  Tensor<float, 2> y, log_sum_exp, dq, dk, dv;
  explicit Outputs(const Inputs& in)
      : y(in.q.shape()),
        log_sum_exp({in.rows, kHeads}),
        dq(in.q.shape()),
        dk(in.k.shape()),
        dv(in.k.shape()) {
    for (const auto* output : {&y, &dq, &dk, &dv, &log_sum_exp}) test::fill(*output, 99.0f);
  }
};

void forward(const Inputs& in, const Segments<Space::host>& segments, const Outputs& out) {
  attention_forward(AttentionForward<float, Space::host>{.q = in.q.view(),
                                                         .k = in.k.view(),
                                                         .v = in.v.view(),
                                                         .segments = segments,
                                                         .y = out.y.view(),
                                                         .log_sum_exp = out.log_sum_exp.view(),
                                                         .heads = kHeads,
                                                         .kv_heads = kKvHeads,
                                                         .scale = 0.2f});
}
/// Gradients of a part into `out`, from y and log_sum_exp of the whole.
void backward(const Inputs& in, const Segments<Space::host>& segments, const Outputs& whole,
              const Outputs& out) {
  attention_backward(AttentionBackward<float, Space::host>{.dy = in.dy.view(),
                                                           .q = in.q.view(),
                                                           .y = whole.y.view(),
                                                           .k = in.k.view(),
                                                           .v = in.v.view(),
                                                           .segments = segments,
                                                           .log_sum_exp = whole.log_sum_exp.view(),
                                                           .dq = out.dq.view(),
                                                           .dk = out.dk.view(),
                                                           .dv = out.dv.view(),
                                                           .heads = kHeads,
                                                           .kv_heads = kKvHeads,
                                                           .scale = 0.2f});
}
void add(const Tensor<float, 2>& part, const Tensor<float, 2>& sum) {
  block_copy(BlockCopy<float, float, Space::host>{.x = part.view(), .y = sum.view(), .into = Into::add});
}
void check_close(const Tensor<float, 2>& got, const Tensor<float, 2>& expected, double tolerance) {
  double worst = 0;
  for (std::int64_t i = 0; i < got.count(); ++i) {
    const double difference = std::abs(double(got[i]) - double(expected[i]));
    worst = difference <= worst ? worst : difference;
  }
  CHECK(worst < tolerance);
}

/// Samples, each cut in three: what the pieces see of their own in causal order, and all of the pieces before
/// them. Some pieces are empty.
struct CutSamples {
  Lists whole, own, one_before, two_before;
  std::int64_t rows = 0;

  explicit CutSamples(const std::vector<std::array<std::int32_t, 3>>& samples) {
    for (const auto& [a, b, c] : samples) {
      const std::int64_t first = rows, second = first + a, third = second + b, end = third + c;
      whole.add({first, end}, {first, end});
      own.add({first, second}, {first, second});
      own.add({second, third}, {second, third});
      own.add({third, end}, {third, end});
      one_before.add({second, third}, {first, second});
      one_before.add({third, end}, {second, third});
      two_before.add({third, end}, {first, second});
      rows = end;
    }
    rows += 3;  // padding
    for (Lists* lists : {&whole, &own, &one_before, &two_before}) lists->end(rows - 3);
  }
};

}  // namespace

TEST_CASE("attention in parts, merged, equals attention over all keys", "[kernels][attention]") {
  const CutSamples cut({{40, 7, 130}, {0, 5, 1}, {1, 0, 0}, {3, 3, 0}, {66, 64, 65}});
  const Inputs in(cut.rows);
  const Outputs expected(in), merged(in), part(in);
  forward(in, cut.whole.segments(Mask::causal), expected);
  forward(in, cut.own.segments(Mask::causal), merged);
  for (const Lists* lists : {&cut.one_before, &cut.two_before}) {
    forward(in, lists->segments(Mask::nothing), part);
    CHECK(part.log_sum_exp.view()(0, 0) == -kInfinity);  // sees nothing before it
    CHECK(part.y.view()(0, 0) == 0);
    merge_attention(MergeAttention<float, Space::host>{.part = part.y.view(),
                                                       .part_log_sum_exp = part.log_sum_exp.view(),
                                                       .y = merged.y.view(),
                                                       .log_sum_exp = merged.log_sum_exp.view()});
  }
  check_close(merged.y, expected.y, 2e-6);
  check_close(merged.log_sum_exp, expected.log_sum_exp, 2e-6);

  backward(in, cut.whole.segments(Mask::causal), expected, expected);
  backward(in, cut.own.segments(Mask::causal), merged, merged);
  for (const Lists* lists : {&cut.one_before, &cut.two_before}) {
    backward(in, lists->segments(Mask::nothing), merged, part);
    add(part.dq, merged.dq), add(part.dk, merged.dk), add(part.dv, merged.dv);
  }
  check_close(merged.dq, expected.dq, 1e-5);
  check_close(merged.dk, expected.dk, 3e-5);
  check_close(merged.dv, expected.dv, 3e-5);
}

TEST_CASE("attention in parts and its merge do not depend on the number of threads", "[kernels][attention]") {
  const CutSamples cut({{40, 7, 130}, {66, 64, 65}});
  const Inputs in(cut.rows);
  const Outputs merged(in), part(in);
  test::check_thread_invariance([&] {
    forward(in, cut.own.segments(Mask::causal), merged);
    forward(in, cut.one_before.segments(Mask::nothing), part);
    merge_attention(MergeAttention<float, Space::host>{.part = part.y.view(),
                                                       .part_log_sum_exp = part.log_sum_exp.view(),
                                                       .y = merged.y.view(),
                                                       .log_sum_exp = merged.log_sum_exp.view()});
    backward(in, cut.one_before.segments(Mask::nothing), merged, part);
    return std::array{merged.y.values(), part.dq.values(), part.dk.values(), part.dv.values()};
  });
}

TEST_CASE("merge_attention weighs both sides, far apart ones too", "[kernels][attention]") {
  // Equal weights; the part alone; nothing of the part; nothing there at all.
  Tensor<float, 2> y({4, 2}, {1, 2, 1, 2, 1, 2, 1, 2}), part({4, 2}, {3, 6, 3, 6, 3, 6, 9, 9});
  Tensor<float, 2> log_sum_exp({4, 1}, {5, -200, 200, 7}), of_part({4, 1}, {5, 200, -200, -kInfinity});
  merge_attention(MergeAttention<float, Space::host>{.part = part.view(),
                                                     .part_log_sum_exp = of_part.view(),
                                                     .y = y.view(),
                                                     .log_sum_exp = log_sum_exp.view()});
  const std::vector<float> expected{2, 4, 3, 6, 1, 2, 1, 2};
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(y[std::int64_t(i)] == Approx(expected[i]));
  CHECK(log_sum_exp[0] == Approx(5 + std::log(2.0f)));
  CHECK(log_sum_exp[1] == 200);
  CHECK(log_sum_exp[2] == 200);
  CHECK(log_sum_exp[3] == 7);
}

TEST_CASE("merge_attention names what does not fit", "[kernels][attention]") {
  Tensor<float, 2> y({4, 6}), part({4, 4}), log_sum_exp({4, 3});
  CHECK_THROWS_WITH(merge_attention(MergeAttention<float, Space::host>{.part = part.view(),
                                                                       .part_log_sum_exp = log_sum_exp.view(),
                                                                       .y = y.view(),
                                                                       .log_sum_exp = log_sum_exp.view()}),
                    "merge_attention.part: expected [4, 6], got [4, 4]");
}

#include <cmath>
#include <limits>

#include "kernels/attention/blocks.h"
#include "kernels/numeric/exp.h"
#include "kernels/numeric/vector.h"

namespace moebius::kernels {
namespace {

using Forward = AttentionForward<float, Space::host>;

/// Of a block of keys, how many there are and how many one query sees.
struct Seen {
  std::int64_t keys, visible;
};

/// The softmax of a block of queries so far: the highest score, the sum of exponentials relative to it.
struct RunningSoftmax {
  float highest[kQueryBlock];
  float sum[kQueryBlock];
};

/// Turns the scores of one query against a block of keys, of which it sees the first `visible`, into
/// exponentials and takes them into the running softmax. Returns the factor for what was summed before.
float take_in(RunningSoftmax& softmax, std::int64_t query, float* scores, Seen seen) {
  const float block_highest = largest(scores, seen.visible, softmax.highest[query]);
  float block_sum = 0;
#pragma omp simd reduction(+ : block_sum)
  for (std::int64_t j = 0; j < seen.visible; ++j) {
    scores[j] = fast_exp(scores[j] - block_highest);
    block_sum += scores[j];
  }
  for (std::int64_t j = seen.visible; j < seen.keys; ++j) scores[j] = 0;
  const float factor = fast_exp(softmax.highest[query] - block_highest);
  softmax.sum[query] = softmax.sum[query] * factor + block_sum;
  softmax.highest[query] = block_highest;
  return factor;
}

/// Keys and values of one task, each block of kKeyBlock keys packed as a right factor of its own.
class PackedKeys {
 public:
  PackedKeys(const Forward& op, const AttentionTask& task, float* room)
      : head_dim_(op.q.columns / op.heads), count_(task.keys.size()), keys_(room) {
    values_ = keys_ + divide_up(count_, kKeyBlock) * panels_size(head_dim_, kKeyBlock);
    for (std::int64_t begin = 0; begin < count_; begin += kKeyBlock) {
      const std::int64_t row = task.keys.begin + begin, column = task.kv_head * head_dim_;
      const Factor transposed_keys{&op.k(row, column), 1, op.k.stride},
          values{&op.v(row, column), op.v.stride, 1};
      pack_panels(transposed_keys, head_dim_, size(begin),
                  keys_ + begin / kKeyBlock * panels_size(head_dim_, kKeyBlock));
      pack_panels(values, size(begin), head_dim_,
                  values_ + begin / kKeyBlock * panels_size(kKeyBlock, head_dim_));
    }
  }
  static std::int64_t room(std::int64_t head_dim, std::int64_t keys) {
    return divide_up(keys, kKeyBlock) * (panels_size(head_dim, kKeyBlock) + panels_size(kKeyBlock, head_dim));
  }
  [[nodiscard]] std::int64_t size(std::int64_t begin) const { return std::min(kKeyBlock, count_ - begin); }
  [[nodiscard]] const float* keys(std::int64_t begin) const {
    return keys_ + begin / kKeyBlock * panels_size(head_dim_, kKeyBlock);
  }
  [[nodiscard]] const float* values(std::int64_t begin) const {
    return values_ + begin / kKeyBlock * panels_size(kKeyBlock, head_dim_);
  }

 private:
  std::int64_t head_dim_, count_;
  float *keys_, *values_;
};

/// One block of queries of one head against all keys that it sees.
void forward_block(const Forward& op, const AttentionTask& task, const PackedKeys& packed, Range queries,
                   std::int64_t head) {
  const std::int64_t head_dim = op.q.columns / op.heads;
  const std::int64_t first_row = task.queries.begin + queries.begin;
  float* y = op.y.row(first_row) + head * head_dim;
  alignas(64) float scores[kQueryBlock * kKeyBlock];
  RunningSoftmax softmax;
  std::fill_n(softmax.highest, kQueryBlock, -std::numeric_limits<float>::infinity());
  std::fill_n(softmax.sum, kQueryBlock, 0.0f);
  const std::int64_t seen = task.visible_keys(queries.end - 1);
  for (std::int64_t begin = 0; begin < seen; begin += kKeyBlock) {
    const std::int64_t keys = std::min(packed.size(begin), seen - begin);
    multiply(PanelProduct{.a = {op.q.row(first_row) + head * head_dim, op.q.stride, 1},
                          .panels = {packed.keys(begin), head_dim},
                          .c = scores,
                          .c_stride = kKeyBlock,
                          .rows = queries.size(),
                          .columns = keys,
                          .depth = head_dim,
                          .alpha = op.scale,
                          .beta = 0});
    for (std::int64_t i = 0; i < queries.size(); ++i) {
      const std::int64_t visible =
          std::clamp<std::int64_t>(task.visible_keys(queries.begin + i) - begin, 0, keys);
      const float factor = take_in(softmax, i, scores + i * kKeyBlock, {keys, visible});
      float* row = y + i * op.y.stride;
      for (std::int64_t c = 0; begin > 0 && factor != 1 && c < head_dim; ++c) row[c] *= factor;
    }
    multiply(PanelProduct{.a = {scores, kKeyBlock, 1},
                          .panels = {packed.values(begin), packed.size(begin)},
                          .c = y,
                          .c_stride = op.y.stride,
                          .rows = queries.size(),
                          .columns = head_dim,
                          .depth = keys,
                          .alpha = 1,
                          .beta = begin == 0 ? 0.0f : 1.0f});
  }
  for (std::int64_t i = 0; i < queries.size(); ++i) {
    const float inverse = 1 / softmax.sum[i];
    float* row = y + i * op.y.stride;
    for (std::int64_t c = 0; c < head_dim; ++c) row[c] *= inverse;
    if (!op.log_sum_exp.empty())
      op.log_sum_exp(first_row + i, head) = softmax.highest[i] + std::log(softmax.sum[i]);
  }
}

void forward_task(const Forward& op, const AttentionTask& task, float* room) {
  const PackedKeys packed(op, task, room);
  const std::int64_t group = op.heads / op.kv_heads, count = task.queries.size();
  for (std::int64_t begin = 0; begin < count; begin += kQueryBlock) {
    const Range queries{begin, std::min(begin + kQueryBlock, count)};
    for (std::int64_t h = 0; h < group; ++h)
      forward_block(op, task, packed, queries, task.kv_head * group + h);
  }
}

/// Rows that see no key.
void clear_unseeing(const Forward& op) {
  std::vector<Range> seeing;
  for (std::int64_t n = 0; n + 1 < op.segments.query_starts.shape[0]; ++n)
    seeing.push_back(seeing_queries_of(op.segments, n));
  clear_between(seeing, op.y);
  const float of_nothing = op.segments.mask == Mask::nothing ? -std::numeric_limits<float>::infinity() : 0.0f;
  if (!op.log_sum_exp.empty()) clear_between(seeing, op.log_sum_exp, of_nothing);
}

}  // namespace

template <class T>
void attention_forward(const AttentionForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_segments(op.segments, op.q.rows, op.k.rows);
  clear_unseeing(op);
  const std::vector<AttentionTask> tasks = attention_tasks(op.segments, op.kv_heads);
  std::int64_t longest = 0;
  for (const AttentionTask& task : tasks) longest = std::max(longest, task.keys.size());
  const std::int64_t head_dim = op.q.columns / op.heads;
#pragma omp parallel if (tasks.size() > 1)
  {
    FloatBuffer room(PackedKeys::room(head_dim, longest));
#pragma omp for schedule(dynamic)
    for (std::size_t t = 0; t < tasks.size(); ++t) forward_task(op, tasks[t], room.get());
  }
}

template void attention_forward(const AttentionForward<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels

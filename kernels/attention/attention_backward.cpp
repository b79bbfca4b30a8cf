#include "kernels/attention/blocks.h"
#include "kernels/numeric/exp.h"

/// With p[i,j] = exp(s[i,j] - log_sum_exp[i]) and d[i] = <dy[i], y[i]>:
///
///   dv[j] = sum_i p[i,j] dy[i]                    ds[i,j] = p[i,j] (<dy[i], v[j]> - d[i])
///   dq[i] = scale * sum_j ds[i,j] k[j]            dk[j] = scale * sum_i ds[i,j] q[i]
namespace moebius::kernels {
namespace {

using Backward = AttentionBackward<float, Space::host>;

/// What one thread needs for a task: the queries and dy of all heads of the group packed as right factors,
/// and d.
class QuerySide {
 public:
  QuerySide(const Backward& op, const AttentionTask& task, float* room)
      : head_dim_(op.q.columns / op.heads), blocks_(divide_up(task.queries.size(), kQueryBlock)), q_(room) {
    const std::int64_t group = op.heads / op.kv_heads, count = task.queries.size();
    dy_ = q_ + group * blocks_ * block_size();
    d_ = dy_ + group * blocks_ * block_size();
    for (std::int64_t h = 0; h < group; ++h) {
      const std::int64_t column = (task.kv_head * group + h) * head_dim_;
      for (std::int64_t begin = 0; begin < count; begin += kQueryBlock) {
        const std::int64_t row = task.queries.begin + begin, size = std::min(kQueryBlock, count - begin);
        pack_panels({&op.q(row, column), op.q.stride, 1}, size, head_dim_, q_ + place(h, begin));
        pack_panels({&op.dy(row, column), op.dy.stride, 1}, size, head_dim_, dy_ + place(h, begin));
        for (std::int64_t i = 0; i < size; ++i)
          d_[(h * blocks_ * kQueryBlock) + begin + i] = dot(op, row + i, column);
      }
    }
  }
  static std::int64_t room(std::int64_t group, std::int64_t head_dim, std::int64_t queries) {
    return group * divide_up(queries, kQueryBlock) * (2 * panels_size(kQueryBlock, head_dim) + kQueryBlock);
  }
  [[nodiscard]] const float* q(std::int64_t h, std::int64_t begin) const { return q_ + place(h, begin); }
  [[nodiscard]] const float* dy(std::int64_t h, std::int64_t begin) const { return dy_ + place(h, begin); }
  [[nodiscard]] const float* d(std::int64_t h, std::int64_t begin) const {
    return d_ + h * blocks_ * kQueryBlock + begin;
  }

 private:
  [[nodiscard]] std::int64_t block_size() const { return panels_size(kQueryBlock, head_dim_); }
  [[nodiscard]] std::int64_t place(std::int64_t h, std::int64_t begin) const {
    return (h * blocks_ + begin / kQueryBlock) * block_size();
  }
  [[nodiscard]] float dot(const Backward& op, std::int64_t row, std::int64_t column) const {
    const float *dy = &op.dy(row, column), *y = &op.y(row, column);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < head_dim_; ++c) sum += dy[c] * y[c];
    return sum;
  }
  std::int64_t head_dim_, blocks_;
  float *q_, *dy_, *d_;
};

/// The panels of one block of keys.
struct KeySide {
  const float *transposed_keys, *transposed_values, *keys;
  std::int64_t count;
};

/// One block of queries of one head against one block of keys.
struct BlockPair {
  Range queries, keys;  // in the segment; keys that the last of the queries sees
  std::int64_t h;       // head in the group
  bool is_first;        // the first to reach dk and dv of these keys
};

struct BackwardTask {
  const Backward& op;
  const AttentionTask& task;
  const QuerySide& query_side;
  std::int64_t head_dim;
};

/// scores -> p, products of dy and v -> ds, both in place; keys that a query does not see give zeros.
void softmax_backward(const BackwardTask& at, const BlockPair& pair, float* scores, float* products) {
  const std::int64_t head = at.task.kv_head * (at.op.heads / at.op.kv_heads) + pair.h;
  const float* d = at.query_side.d(pair.h, pair.queries.begin);
  for (std::int64_t i = 0; i < pair.queries.size(); ++i) {
    const std::int64_t query = pair.queries.begin + i;
    const std::int64_t visible =
        std::clamp<std::int64_t>(at.task.visible_keys(query) - pair.keys.begin, 0, pair.keys.size());
    const float log_sum_exp = at.op.log_sum_exp(at.task.queries.begin + query, head);
    float *p = scores + i * kKeyBlock, *ds = products + i * kKeyBlock;
#pragma omp simd
    for (std::int64_t j = 0; j < visible; ++j) {
      p[j] = fast_exp(p[j] - log_sum_exp);
      ds[j] = p[j] * (ds[j] - d[i]);
    }
    for (std::int64_t j = visible; j < pair.keys.size(); ++j) p[j] = ds[j] = 0;
  }
}

void backward_pair(const BackwardTask& at, const KeySide& key_side, const BlockPair& pair) {
  alignas(64) float scores[kQueryBlock * kKeyBlock], products[kQueryBlock * kKeyBlock];
  const Backward& op = at.op;
  const std::int64_t head_dim = at.head_dim, group = op.heads / op.kv_heads;
  const std::int64_t query_row = at.task.queries.begin + pair.queries.begin;
  const std::int64_t key_row = at.task.keys.begin + pair.keys.begin;
  const std::int64_t column = (at.task.kv_head * group + pair.h) * head_dim,
                     key_column = at.task.kv_head * head_dim;
  PanelProduct product{.a = {&op.q(query_row, column), op.q.stride, 1},
                       .panels = {key_side.transposed_keys, head_dim},
                       .c = scores,
                       .c_stride = kKeyBlock,
                       .rows = pair.queries.size(),
                       .columns = pair.keys.size(),
                       .depth = head_dim,
                       .alpha = op.scale,
                       .beta = 0};
  multiply(product);
  product.a = {&op.dy(query_row, column), op.dy.stride, 1};
  product.panels = {key_side.transposed_values, head_dim};
  product.c = products;
  product.alpha = 1;
  multiply(product);
  softmax_backward(at, pair, scores, products);
  multiply(PanelProduct{.a = {products, kKeyBlock, 1},
                        .panels = {key_side.keys, key_side.count},
                        .c = &op.dq(query_row, column),
                        .c_stride = op.dq.stride,
                        .rows = pair.queries.size(),
                        .columns = head_dim,
                        .depth = pair.keys.size(),
                        .alpha = op.scale,
                        .beta = pair.keys.begin == 0 ? 0.0f : 1.0f});
  PanelProduct to_keys{.a = {scores, 1, kKeyBlock},
                       .panels = {at.query_side.dy(pair.h, pair.queries.begin), pair.queries.size()},
                       .c = &op.dv(key_row, key_column),
                       .c_stride = op.dv.stride,
                       .rows = pair.keys.size(),
                       .columns = head_dim,
                       .depth = pair.queries.size(),
                       .alpha = 1,
                       .beta = pair.is_first ? 0.0f : 1.0f};
  multiply(to_keys);
  to_keys.a = {products, 1, kKeyBlock};
  to_keys.panels.data = at.query_side.q(pair.h, pair.queries.begin);
  to_keys.c = &op.dk(key_row, key_column);
  to_keys.c_stride = op.dk.stride;
  to_keys.alpha = op.scale;
  multiply(to_keys);
}

/// Of a block of keys, those that the block of queries from `query` on sees.
Range seen_keys(const AttentionTask& task, Range block, std::int64_t query) {
  const std::int64_t last_query = std::min(query + kQueryBlock, task.queries.size()) - 1;
  return {block.begin, std::min(block.end, task.visible_keys(last_query))};
}

/// Key blocks outside, so that dk and dv of a block are complete when it is left; dq gathers over them.
void backward_task(const Backward& op, const AttentionTask& task, float* room) {
  const std::int64_t head_dim = op.q.columns / op.heads, group = op.heads / op.kv_heads;
  const std::int64_t key_count = task.keys.size(), query_count = task.queries.size();
  const std::int64_t transposed_size = panels_size(head_dim, kKeyBlock);
  float *transposed_keys = room, *transposed_values = room + transposed_size,
        *keys = room + 2 * transposed_size;
  const QuerySide query_side(op, task, keys + panels_size(kKeyBlock, head_dim));
  for (std::int64_t key = 0; key < key_count; key += kKeyBlock) {
    const Range block{key, std::min(key + kKeyBlock, key_count)};
    const std::int64_t row = task.keys.begin + key, column = task.kv_head * head_dim;
    pack_panels({&op.k(row, column), 1, op.k.stride}, head_dim, block.size(), transposed_keys);
    pack_panels({&op.v(row, column), 1, op.v.stride}, head_dim, block.size(), transposed_values);
    pack_panels({&op.k(row, column), op.k.stride, 1}, block.size(), head_dim, keys);
    const std::int64_t first = task.first_query(key) / kQueryBlock * kQueryBlock;
    // The first pair overwrites the keys that it sees.
    const std::int64_t unseen = key + seen_keys(task, block, first).size();
    clear_rows(op.dk.column_block(column, head_dim), {task.keys.begin + unseen, task.keys.begin + block.end});
    clear_rows(op.dv.column_block(column, head_dim), {task.keys.begin + unseen, task.keys.begin + block.end});
    for (std::int64_t h = 0; h < group; ++h) {
      for (std::int64_t query = first; query < query_count; query += kQueryBlock) {
        backward_pair({op, task, query_side, head_dim},
                      {transposed_keys, transposed_values, keys, block.size()},
                      {.queries = {query, std::min(query + kQueryBlock, query_count)},
                       .keys = seen_keys(task, block, query),
                       .h = h,
                       .is_first = h == 0 && query == first});
      }
    }
  }
}

/// Rows without a pair: padding, keys of segments without queries, and the other way round.
void clear_lonely(const Backward& op) {
  std::vector<Range> queries, keys;
  for (std::int64_t n = 0; n + 1 < op.segments.query_starts.shape[0]; ++n) {
    queries.push_back(seeing_queries_of(op.segments, n));
    keys.push_back(queries.back().size() == 0 ? Range{} : keys_of(op.segments, n));
  }
  clear_between(queries, op.dq);
  clear_between(keys, op.dk);
  clear_between(keys, op.dv);
}

}  // namespace

template <class T>
void attention_backward(const AttentionBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_segments(op.segments, op.q.rows, op.k.rows);
  clear_lonely(op);
  const std::vector<AttentionTask> tasks = attention_tasks(op.segments, op.kv_heads);
  std::int64_t longest = 0;
  for (const AttentionTask& task : tasks) longest = std::max(longest, task.queries.size());
  const std::int64_t head_dim = op.q.columns / op.heads;
  const std::int64_t room = 2 * panels_size(head_dim, kKeyBlock) + panels_size(kKeyBlock, head_dim) +
                            QuerySide::room(op.heads / op.kv_heads, head_dim, longest);
#pragma omp parallel if (tasks.size() > 1)
  {
    FloatBuffer buffer(room);
#pragma omp for schedule(dynamic)
    for (std::size_t t = 0; t < tasks.size(); ++t) backward_task(op, tasks[t], buffer.get());
  }
}

template void attention_backward(const AttentionBackward<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels

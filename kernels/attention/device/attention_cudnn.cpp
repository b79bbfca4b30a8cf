#include "kernels/attention/device/attention_cudnn.h"

#define CUDNN_FRONTEND_SKIP_JSON_LIB  // graphs are not written to files
#include <cudnn_frontend.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <map>

#include "base/math.h"
#include "kernels/attention/device/sequences.h"
#include "kernels/device/device.h"

/// cuDNN's fused attention of packed sequences ("THD"), through the graph interface of cudnn-frontend 1.18,
/// as it has to be asked for in cuDNN 9.19 on Hopper:
///
///  - A tensor is [sequences, heads, longest, head_dim] with strides into the rows of all tokens, and a list
///  of
///    where each sequence begins, in elements, int64. That needs the padding mask and lists of lengths.
///  - dq and dk must have the rows of q and k: other rows give wrong numbers without an error as soon as
///  there
///    are two sequences. dv may have rows of its own.
///  - The frontend takes memory for sums (dq in fp32; dk and dv of every query head) by the stride of the
///  rows of
///    dq, dk and dv, once it knows the rows of all sequences (max_total_seq_len). In a packed q|k|v buffer
///    that would be 7 times as much; so dq, dk and dv are buffers of their own.
///  - The statistics are token-major; with rows of all tokens in one head after the other gradients are
///  zeros.
///  - No sequence may be empty, and all rows together are a multiple of 128.
///
/// Without a mask queries and keys have lists of their own, and rows between sequences belong to none.
namespace moebius::kernels {
namespace {

namespace fe = cudnn_frontend;
using Graph = fe::graph::Graph;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using TensorAttributes = fe::graph::Tensor_attributes;
using Forward = AttentionForward<bf16, Space::device>;
using Backward = AttentionBackward<bf16, Space::device>;

enum class Direction : std::uint8_t { forward, forward_with_statistics, backward };

/// All that a plan depends on. Row strides are in elements.
struct PlanKey {
  Direction direction = Direction::forward;
  Mask mask = Mask::causal;
  std::int64_t sequences = 0;
  std::int64_t longest = 0, rows = 0;           // of queries
  std::int64_t longest_keys = 0, key_rows = 0;  // causal: the same
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, y_stride = 0, dy_stride = 0;
  float scale = 1;
  // NOLINTNEXTLINE(modernize-use-nullptr): what clang-tidy 14 makes of a defaulted <=>
  friend auto operator<=>(const PlanKey&, const PlanKey&) = default;

  [[nodiscard]] std::int64_t kv_columns() const { return kv_heads * head_dim; }
};

// -------------------------------------------------------------------------------------------------- sizes

/// The longest segment (0: unknown) as plans know it: few values, so that batches share plans.
std::int64_t longest_for_plan(std::int64_t longest, std::int64_t rows) {
  if (longest == 0) longest = rows;
  std::int64_t size = 128;
  while (size < longest) size *= 2;
  return std::min(size, rows);
}

/// Number of sequences as plans know it: segments, and single rows of padding up to a multiple of a quarter
/// to an eighth of it, as far as the padding goes.
std::int64_t sequences_for_plan(const Segments<Space::device>& segments) {
  const std::int64_t count = segments.query_starts.shape[0] - 1;
  const std::int64_t step = std::max<std::int64_t>(1, std::int64_t(std::bit_floor(std::uint64_t(count))) / 4);
  const std::int64_t rounded = round_up(count, step);
  return rounded - count <= segments.padding ? rounded : count;
}

template <class Op>
PlanKey key_for(const Op& op, Direction direction) {
  const Segments<Space::device>& segments = op.segments;
  const bool is_causal = segments.mask == Mask::causal;
  return {.direction = direction,
          .mask = segments.mask,
          .sequences = is_causal ? sequences_for_plan(segments) : segments.query_counts.shape[0],
          .longest = longest_for_plan(segments.longest, op.q.rows),
          .rows = op.q.rows,
          .longest_keys = longest_for_plan(is_causal ? segments.longest : segments.longest_keys, op.k.rows),
          .key_rows = op.k.rows,
          .heads = op.heads,
          .kv_heads = op.kv_heads,
          .head_dim = op.q.columns / op.heads,
          .q_stride = op.q.stride,
          .k_stride = op.k.stride,
          .v_stride = op.v.stride,
          .y_stride = op.y.stride,
          .scale = op.scale};
}

template <class T>
bool has_packs(const Matrix<T, Space::device>& matrix) {
  return matrix.stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(matrix.data) % 16 == 0;
}

template <class Op>
bool both_suit(const Op& op) {
  constexpr std::int64_t most_blocks = 65535;  // of a grid, if it has one a sequence and head
  const std::int64_t head_dim = op.heads == 0 ? 0 : op.q.columns / op.heads;
  const Segments<Space::device>& segments = op.segments;
  const std::int64_t count = segments.query_starts.shape[0] - 1;
  const bool is_causal = segments.mask == Mask::causal && segments.key_counts.empty() &&
                         segments.query_counts.empty() &&
                         segments.key_starts.data == segments.query_starts.data && op.k.rows == op.q.rows;
  const bool is_full = segments.mask == Mask::nothing && !segments.key_counts.empty() &&
                       !segments.query_counts.empty() && op.k.rows > 0 && op.k.rows % 128 == 0;
  return (is_causal || is_full) && count >= 1 && 2 * count * op.heads <= most_blocks &&
         (head_dim == 64 || head_dim == 128) && op.q.rows > 0 && op.q.rows % 128 == 0 && has_packs(op.q) &&
         has_packs(op.k) && has_packs(op.v) && has_packs(op.y);
}

// ------------------------------------------------------------------------------------------------- graphs

/// What a plan calls its tensors. Lists of offsets, one a width of rows, follow.
enum Name : std::int64_t {
  name_q = 1,
  name_k,
  name_v,
  name_y,
  name_statistics,
  name_dy,
  name_dq,
  name_dk,
  name_dv,
  name_query_lengths,
  name_key_lengths,
  name_offsets
};

/// Rows of which a list of offsets is: so many elements wide, of queries or, without a mask, of keys.
struct RowKind {
  std::int64_t width;
  bool of_keys;
  // NOLINTNEXTLINE(modernize-use-nullptr): as below
  friend auto operator<=>(const RowKind&, const RowKind&) = default;
};

struct Plan {
  Graph graph;
  std::vector<RowKind> rows;  // name_offsets + i lists their offsets
  std::int64_t workspace_bytes = 0;
};

void expect_good(fe::error_t error, const char* what, const PlanKey& key) {
  if (error.is_good()) return;
  throw std::runtime_error(std::string("cuDNN: attention, ") + what + ": " + error.get_message() + " (" +
                           std::to_string(key.rows) + " rows, " + std::to_string(key.sequences) +
                           " sequences of up to " + std::to_string(key.longest) + ", heads " +
                           std::to_string(key.heads) + "/" + std::to_string(key.kv_heads) + " of " +
                           std::to_string(key.head_dim) + ")");
}

/// Puts the tensors of one plan into its graph.
class GraphBuilder {
 public:
  GraphBuilder(Plan& plan, const PlanKey& key) : plan_(plan), key_(key) {
    plan.graph.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    query_lengths_ = lengths(name_query_lengths);
    key_lengths_ = lengths(name_key_lengths);
  }

  Tensor input(Name name, std::int64_t heads, std::int64_t row_stride) {
    TensorAttributes tensor;
    describe(tensor, name, heads, row_stride);
    return plan_.graph.tensor(tensor);
  }
  void output(const Tensor& tensor, Name name, std::int64_t heads, std::int64_t row_stride) {
    describe(*tensor, name, heads, row_stride);
    tensor->set_output(true);
  }
  void describe_statistics(TensorAttributes& tensor) {
    tensor.set_uid(name_statistics)
        .set_data_type(fe::DataType_t::FLOAT)
        .set_dim({key_.sequences, key_.heads, key_.longest, 1})
        .set_stride({key_.longest * key_.heads, 1, key_.heads, 1})
        .set_ragged_offset(offsets({key_.heads, false}));
  }
  template <class Attributes>
  Attributes attributes(const char* name) {
    Attributes made;
    made.set_name(name)
        .set_attn_scale(key_.scale)
        .set_padding_mask(true)
        .set_seq_len_q(query_lengths_)
        .set_seq_len_kv(key_lengths_);
    if (key_.mask == Mask::causal) {
      made.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    }
    return made;
  }

 private:
  Tensor lengths(Name name) {
    return plan_.graph.tensor(TensorAttributes()
                                  .set_uid(name)
                                  .set_dim({key_.sequences, 1, 1, 1})
                                  .set_stride({1, 1, 1, 1})
                                  .set_data_type(fe::DataType_t::INT32));
  }
  void describe(TensorAttributes& tensor, Name name, std::int64_t heads, std::int64_t row_stride) {
    const bool of_keys = name == name_k || name == name_v || name == name_dk || name == name_dv;
    const std::int64_t longest = of_keys ? key_.longest_keys : key_.longest;
    tensor.set_uid(name)
        .set_dim({key_.sequences, heads, longest, key_.head_dim})
        .set_stride({longest * row_stride, key_.head_dim, row_stride, 1})
        .set_ragged_offset(offsets({row_stride, of_keys && key_.mask == Mask::nothing}));
  }
  Tensor offsets(const RowKind& rows) {
    Tensor& made = offsets_[rows];
    if (made) return made;
    made = plan_.graph.tensor(TensorAttributes()
                                  .set_uid(name_offsets + std::int64_t(plan_.rows.size()))
                                  .set_dim({key_.sequences + 1, 1, 1, 1})
                                  .set_stride({1, 1, 1, 1})
                                  .set_data_type(fe::DataType_t::INT64));
    plan_.rows.push_back(rows);
    return made;
  }

  Plan& plan_;
  const PlanKey& key_;
  Tensor query_lengths_, key_lengths_;
  std::map<RowKind, Tensor> offsets_;
};

void describe_forward(Plan& plan, const PlanKey& key) {
  GraphBuilder builder(plan, key);
  const bool has_statistics = key.direction == Direction::forward_with_statistics;
  const Tensor q = builder.input(name_q, key.heads, key.q_stride),
               k = builder.input(name_k, key.kv_heads, key.k_stride),
               v = builder.input(name_v, key.kv_heads, key.v_stride);
  auto attributes = builder.attributes<fe::graph::SDPA_attributes>("attention");
  attributes.set_generate_stats(has_statistics);
  const auto [y, statistics] = plan.graph.sdpa(q, k, v, attributes);
  builder.output(y, name_y, key.heads, key.y_stride);
  if (!has_statistics) return;
  builder.describe_statistics(*statistics);
  statistics->set_output(true);
}

void describe_backward(Plan& plan, const PlanKey& key) {
  GraphBuilder builder(plan, key);
  const Tensor q = builder.input(name_q, key.heads, key.q_stride),
               k = builder.input(name_k, key.kv_heads, key.k_stride),
               v = builder.input(name_v, key.kv_heads, key.v_stride),
               y = builder.input(name_y, key.heads, key.y_stride),
               dy = builder.input(name_dy, key.heads, key.dy_stride);
  TensorAttributes of_statistics;
  builder.describe_statistics(of_statistics);
  const Tensor statistics = plan.graph.tensor(of_statistics);
  auto attributes = builder.attributes<fe::graph::SDPA_backward_attributes>("attention_backward");
  attributes.set_deterministic_algorithm(false).set_max_total_seq_len_q(key.rows).set_max_total_seq_len_kv(
      key.key_rows);
  const auto [dq, dk, dv] = plan.graph.sdpa_backward(q, k, v, y, dy, statistics, attributes);
  builder.output(dq, name_dq, key.heads, key.q_stride);
  builder.output(dk, name_dk, key.kv_heads, key.k_stride);
  builder.output(dv, name_dv, key.kv_heads, key.kv_columns());
}

/// The plans made so far.
class AttentionPlans {
 public:
  explicit AttentionPlans(Device& device) : device_(device) {}

  Plan& plan(const PlanKey& key) {
    std::unique_ptr<Plan>& kept = plans_[key];
    if (!kept) kept = make(key);
    return *kept;
  }

 private:
  std::unique_ptr<Plan> make(const PlanKey& key) {
    auto plan = std::make_unique<Plan>();
    key.direction == Direction::backward ? describe_backward(*plan, key) : describe_forward(*plan, key);
    expect_good(plan->graph.build(device_.dnn(), {fe::HeurMode_t::A}), "planning", key);
    expect_good(plan->graph.get_workspace_size(plan->workspace_bytes), "size of the workspace", key);
    return plan;
  }

  Device& device_;
  std::map<PlanKey, std::unique_ptr<Plan>> plans_;
};

// ---------------------------------------------------------------------------------------------- execution

/// Hands out pieces of the scratch memory: first asked for all at once, then taken in the same order.
class Pieces {
 public:
  std::int64_t add(std::int64_t bytes) {
    const std::int64_t place = bytes_;
    bytes_ += round_up(bytes, 256);
    return place;
  }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

/// What a call needs besides its operands, in scratch memory.
struct CallMemory {
  void* workspace = nullptr;
  View<bf16, 2, Space::device> values;           // dv, contiguous; causal
  View<std::int32_t, 2, Space::device> lengths;  // [1 or 2, sequences]; queries, then keys if they differ
  View<std::int64_t, 2, Space::device> offsets;
};

CallMemory memory_for(const Plan& plan, const PlanKey& key, Device& device) {
  const std::int64_t kinds = std::int64_t(plan.rows.size());
  const bool is_causal = key.mask == Mask::causal;
  const std::int64_t value_rows = is_causal && key.direction == Direction::backward ? key.rows : 0;
  const std::int64_t sides = is_causal ? 1 : 2;
  Pieces pieces;
  pieces.add(plan.workspace_bytes);
  const std::int64_t values = pieces.add(value_rows * key.kv_columns() * std::int64_t(sizeof(bf16)));
  const std::int64_t lengths = pieces.add(sides * key.sequences * std::int64_t(sizeof(std::int32_t)));
  const std::int64_t offsets = pieces.add(kinds * (key.sequences + 1) * std::int64_t(sizeof(std::int64_t)));
  auto* const begin = static_cast<std::byte*>(device.scratch(pieces.bytes()));
  return {.workspace = begin,
          .values = {reinterpret_cast<bf16*>(begin + values), {value_rows, key.kv_columns()}},
          .lengths = {reinterpret_cast<std::int32_t*>(begin + lengths), {sides, key.sequences}},
          .offsets = {reinterpret_cast<std::int64_t*>(begin + offsets), {kinds, key.sequences + 1}}};
}

struct Planned {
  Plan& plan;
  const PlanKey& key;
};
using Operands = std::unordered_map<std::int64_t, void*>;  // as the frontend wants them

template <class T>
void* operand(const T* data) {
  return const_cast<void*>(static_cast<const void*>(data));
}

void list(const Planned& planned, const Segments<Space::device>& segments, const CallMemory& memory,
          Queue<Space::device> queue) {
  const std::vector<RowKind>& rows = planned.plan.rows;
  if (planned.key.mask == Mask::causal) {
    SequenceLists lists{.starts = segments.query_starts,
                        .sequences = planned.key.sequences,
                        .width_count = int(rows.size()),
                        .lengths = memory.lengths.flat(),
                        .offsets = memory.offsets};
    for (std::size_t i = 0; i < rows.size(); ++i) lists.widths.at(i) = rows[i].width;
    return list_sequences(lists, queue);
  }
  BlockLists lists{.query_starts = segments.query_starts,
                   .key_starts = segments.key_starts,
                   .query_counts = segments.query_counts,
                   .key_counts = segments.key_counts,
                   .width_count = int(rows.size()),
                   .lengths = memory.lengths,
                   .offsets = memory.offsets};
  for (std::size_t i = 0; i < rows.size(); ++i)
    lists.widths.at(i) = rows[i].width, lists.of_keys.at(i) = rows[i].of_keys;
  list_blocks(lists, queue);
}

/// Lists the sequences, then runs the plan on the operands and those lists.
template <class Op>
void run(const Planned& planned, const Op& op, const CallMemory& memory, Operands operands,
         Queue<Space::device> queue) {
  auto& [plan, key] = planned;
  list(planned, op.segments, memory, queue);
  operands.insert({{name_q, operand(op.q.data)},
                   {name_k, operand(op.k.data)},
                   {name_v, operand(op.v.data)},
                   {name_y, operand(op.y.data)},
                   {name_query_lengths, memory.lengths.data},
                   {name_key_lengths, &memory.lengths(memory.lengths.shape[0] - 1, 0)}});
  for (std::int64_t i = 0; i < memory.offsets.shape[0]; ++i)
    operands[name_offsets + i] = &memory.offsets(i, 0);
  expect_good(plan.graph.execute(queue.device->dnn(), operands, memory.workspace), "run", key);
}

}  // namespace

bool suits_cudnn(const Forward& op) {
  return both_suit(op);
}

bool suits_cudnn(const Backward& op) {
  const bool has_dv = op.segments.mask == Mask::causal || op.dv.stride == op.dv.columns;
  return both_suit(op) && has_dv && op.dq.stride == op.q.stride && op.dk.stride == op.k.stride &&
         has_packs(op.dy) && has_packs(op.dq) && has_packs(op.dk) && has_packs(op.dv);
}

void attention_forward_cudnn(const Forward& op, Queue<Space::device> queue) {
  const PlanKey key =
      key_for(op, op.log_sum_exp.empty() ? Direction::forward : Direction::forward_with_statistics);
  Plan& plan = queue.device->state<AttentionPlans>().plan(key);
  const CallMemory memory = memory_for(plan, key, *queue.device);
  Operands operands;
  if (!op.log_sum_exp.empty()) operands[name_statistics] = op.log_sum_exp.data;
  run({plan, key}, op, memory, std::move(operands), queue);
  const Starts starts = op.segments.query_starts;
  if (key.mask == Mask::causal) {
    clear_unowned({.starts = starts, .y = op.y, .log_sum_exp = op.log_sum_exp}, queue);
  } else {
    clear_gaps({starts, op.segments.query_counts, op.y, op.log_sum_exp}, queue);
  }
}

void attention_backward_cudnn(const Backward& op, Queue<Space::device> queue) {
  PlanKey key = key_for(op, Direction::backward);
  key.dy_stride = op.dy.stride;
  Plan& plan = queue.device->state<AttentionPlans>().plan(key);
  const CallMemory memory = memory_for(plan, key, *queue.device);
  run({plan, key}, op, memory,
      {{name_dy, operand(op.dy.data)},
       {name_statistics, operand(op.log_sum_exp.data)},
       {name_dq, op.dq.data},
       {name_dk, op.dk.data},
       {name_dv, key.mask == Mask::causal ? memory.values.data : op.dv.data}},
      queue);
  if (key.mask == Mask::nothing) {
    const Segments<Space::device>& segments = op.segments;
    clear_gaps({segments.query_starts, segments.query_counts, op.dq, {}}, queue);
    clear_gaps({segments.key_starts, segments.key_counts, op.dk, {}}, queue);
    clear_gaps({segments.key_starts, segments.key_counts, op.dv, {}}, queue);
    return;
  }
  finish_gradients(
      {.starts = op.segments.query_starts, .values = memory.values, .dq = op.dq, .dk = op.dk, .dv = op.dv},
      queue);
}

}  // namespace moebius::kernels

#include "layers/ring_attention.h"

#include <array>
#include <concepts>

#include "kernels/attention/merge_attention.h"
#include "kernels/update/block_copy.h"

namespace moebius::layers {
namespace {

using kernels::Into;

/// A matrix that has all of its rows' memory, as such.
template <class T, Space S>
View<T, 2, S> whole_rows(const Matrix<T, S>& matrix) {
  if (matrix.stride != matrix.columns) throw ShapeError("ring attention: rows with gaps");
  return {matrix.data, {matrix.rows, matrix.columns}};
}

/// What lies in `from`, where sums in fp32 are made: itself where that is fp32.
template <class T, Space S>
View<float, 2, S> widened(View<T, 2, S> from, Arena<S>& workspace, Queue<S> queue) {
  if constexpr (std::same_as<T, float>) {
    return from;
  } else {
    const View<float, 2, S> sum = workspace.template make<float>(from.shape);
    kernels::block_copy(kernels::BlockCopy<T, float, S>{.x = from, .y = sum}, queue);
    return sum;
  }
}
/// And back.
template <class T, Space S>
void narrow_into(View<float, 2, S> sum, View<T, 2, S> to, Queue<S> queue) {
  if constexpr (!std::same_as<T, float>)
    kernels::block_copy(kernels::BlockCopy<float, T, S>{.x = sum, .y = to}, queue);
}

/// Two tensors of [tokens, columns] that travel as one: keys and values, or their gradients.
template <class T, Space S>
struct KeyPair {
  View<T, 2, S> both;  // [2 * tokens, columns]; keys, then values

  [[nodiscard]] View<T, 2, S> keys() const { return both.slice(0, both.shape[0] / 2); }
  [[nodiscard]] View<T, 2, S> values() const { return both.slice(both.shape[0] / 2, both.shape[0] / 2); }
};

/// A pair that goes round: what is here, and room for what comes.
template <Platform P, class T>
class Ring {
 public:
  static constexpr Space kSpace = P::kSpace;

  Ring(std::int64_t tokens, std::int64_t columns, std::string_view name, Context<P>& context)
      : context_(context),
        name_(name),
        here_{context.workspace.template make<T>(2 * tokens, columns)},
        coming_{context.workspace.template make<T>(2 * tokens, columns)} {}

  [[nodiscard]] const KeyPair<T, kSpace>& here() const { return here_; }

  /// x into, or added to, what is here.
  template <class From>
  void take(const Matrix<const From, kSpace>& keys, const Matrix<const From, kSpace>& values, Into into) {
    kernels::block_copy(kernels::BlockCopy<From, T, kSpace>{.x = keys, .y = here_.keys(), .into = into},
                        context_.queue);
    kernels::block_copy(kernels::BlockCopy<From, T, kSpace>{.x = values, .y = here_.values(), .into = into},
                        context_.queue);
  }
  /// What is here starts to the next rank, and what the one before has, to this rank.
  void send_on() {
    const cluster::Mesh& mesh = context_.exchange.mesh();
    const std::int64_t degree = mesh.degree(Axis::context), index = mesh.index(Axis::context);
    pending_ = context_.exchange.template start_messages<T>({Axis::context, name_},
                                                            {.to = (index + 1) % degree,
                                                             .sent = here_.both.flat(),
                                                             .from = (index + degree - 1) % degree,
                                                             .received = coming_.both.flat()},
                                                            context_.queue);
  }
  /// What was on its way is here.
  void arrive() {
    pending_.wait(context_.queue);
    std::swap(here_, coming_);
  }

 private:
  Context<P>& context_;
  std::string_view name_;
  KeyPair<T, kSpace> here_, coming_;
  parallel::Pending<kSpace> pending_;
};

template <Space S>
bool has_work(const kernels::Segments<S>& segments) {
  return segments.query_starts.shape[0] > 1;
}

/// Calls step(keys and values, segments) with those of every other rank; they travel on meanwhile.
template <Platform P, class Op, class Step>
void each_remote(Ring<P, typename P::Storage>& ring, const Op& remote, const Step& step) {
  for (std::size_t s = 0; s < remote.size(); ++s) {
    ring.arrive();
    if (s + 1 < remote.size()) ring.send_on();
    step(ring.here(), remote[s]);
  }
}

}  // namespace

template <Platform P>
void ring_attention_forward(const kernels::AttentionForward<typename P::Storage, P::kSpace>& own,
                            std::span<const kernels::Segments<P::kSpace>> remote, std::string_view name,
                            Context<P>& context) {
  using T = typename P::Storage;
  if (remote.empty()) return kernels::attention_forward(own, context.queue);
  const ArenaScope scope(context.workspace);
  Arena<P::kSpace>& workspace = context.workspace;
  Ring<P, T> ring(own.k.rows, own.k.columns, name, context);
  ring.template take<T>(own.k, own.v, Into::overwrite);
  ring.send_on();
  kernels::attention_forward(own, context.queue);

  const View<T, 2, P::kSpace> y = whole_rows(own.y);
  const View<float, 2, P::kSpace> sum = widened(y, workspace, context.queue);
  kernels::AttentionForward<T, P::kSpace> step = own;
  const View<T, 2, P::kSpace> part = workspace.template make<T>(y.shape);
  step.y = part;
  step.log_sum_exp = workspace.template make<float>(own.log_sum_exp.shape);
  each_remote<P>(
      ring, remote, [&](const KeyPair<T, P::kSpace>& here, const kernels::Segments<P::kSpace>& segments) {
        if (!has_work(segments)) return;
        step.k = here.keys(), step.v = here.values(), step.segments = segments;
        kernels::attention_forward(step, context.queue);
        kernels::merge_attention(
            kernels::MergeAttention<T, P::kSpace>{
                .part = part, .part_log_sum_exp = step.log_sum_exp, .y = sum, .log_sum_exp = own.log_sum_exp},
            context.queue);
      });
  narrow_into(sum, y, context.queue);
}

template <Platform P>
void ring_attention_backward(const kernels::AttentionBackward<typename P::Storage, P::kSpace>& own,
                             std::span<const kernels::Segments<P::kSpace>> remote, std::string_view name,
                             Context<P>& context) {
  using T = typename P::Storage;
  if (remote.empty()) return kernels::attention_backward(own, context.queue);
  const ArenaScope scope(context.workspace);
  Arena<P::kSpace>& workspace = context.workspace;
  const std::int64_t tokens = own.k.rows, columns = own.k.columns;
  Ring<P, T> ring(tokens, columns, name, context);
  ring.template take<T>(own.k, own.v, Into::overwrite);
  ring.send_on();
  kernels::attention_backward(own, context.queue);

  Ring<P, float> gradients(tokens, columns, name, context);
  gradients.template take<T>(own.dk, own.dv, Into::overwrite);
  const View<T, 2, P::kSpace> dq = whole_rows(own.dq);
  const View<float, 2, P::kSpace> dq_sum = widened(dq, workspace, context.queue);
  kernels::AttentionBackward<T, P::kSpace> step = own;
  const View<T, 2, P::kSpace> part_of_dq = workspace.template make<T>(dq.shape);
  const KeyPair<T, P::kSpace> part{workspace.template make<T>(2 * tokens, columns)};
  step.dq = part_of_dq, step.dk = part.keys(), step.dv = part.values();
  each_remote<P>(
      ring, remote, [&](const KeyPair<T, P::kSpace>& here, const kernels::Segments<P::kSpace>& segments) {
        gradients.send_on();  // those of the keys that are here now come from the rank that had them before
        if (!has_work(segments)) return gradients.arrive();
        step.k = here.keys(), step.v = here.values(), step.segments = segments;
        kernels::attention_backward(step, context.queue);
        kernels::block_copy(
            kernels::BlockCopy<T, float, P::kSpace>{.x = part_of_dq, .y = dq_sum, .into = Into::add},
            context.queue);
        gradients.arrive();
        gradients.template take<T>(part.keys(), part.values(), Into::add);
      });
  gradients.send_on();  // one step more brings them home
  narrow_into(dq_sum, dq, context.queue);
  gradients.arrive();
  const KeyPair<float, P::kSpace>& home = gradients.here();
  kernels::block_copy(kernels::BlockCopy<float, T, P::kSpace>{.x = home.keys(), .y = own.dk}, context.queue);
  kernels::block_copy(kernels::BlockCopy<float, T, P::kSpace>{.x = home.values(), .y = own.dv},
                      context.queue);
}

#define INSTANTIATE(P)                                                                                   \
  template void ring_attention_forward(const kernels::AttentionForward<P::Storage, P::kSpace>&,          \
                                       std::span<const kernels::Segments<P::kSpace>>, std::string_view,  \
                                       Context<P>&);                                                     \
  template void ring_attention_backward(const kernels::AttentionBackward<P::Storage, P::kSpace>&,        \
                                        std::span<const kernels::Segments<P::kSpace>>, std::string_view, \
                                        Context<P>&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers

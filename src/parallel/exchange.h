#pragma once
#include <array>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "cluster/mesh.h"
#include "cluster/reduction.h"
#include "parallel/pending.h"
#include "tensor/dtype.h"
#include "tensor/phase_clock.h"
#include "tensor/transfer.h"

namespace moebius::parallel {

using cluster::Axis;
using cluster::Mesh;

using cluster::Reduction;

/// Where a collective runs and what it is for. The name appears in the watchdog's report, so it says which
/// tensor of which layer: "layers.3.attention.qkv".
struct Call {
  Axis axis;
  std::string_view name;
};

/// What went over an axis since the start: payload that this rank sent to others, and the time it spent in
/// the calls, waiting for the others included (but not where calls only queue: nccl).
struct Traffic {
  std::int64_t calls = 0, bytes = 0;
  double seconds = 0;
};

/// A view of constant elements that plain views convert to: T is deduced from the other arguments.
template <class T, int Rank, Space S>
using Input = std::type_identity_t<View<const T, Rank, S>>;

/// Rows that lie in blocks, one for each index of an axis, in order; counts: [degree].
template <class T, Space S>
struct RowBlocks {
  View<T, 2, S> rows;
  std::span<const std::int64_t> counts;
};

/// What messages between two ranks keep apart: those of one lane arrive in the order in which they were
/// started, so both sides start theirs in one order; those of two lanes overtake each other as they like.
enum class Lane : std::uint8_t { first, second };

/// One message to an index of an axis and one from an index of it, which may be the same; empty: none.
template <class T, Space S>
struct Messages {
  std::int64_t to = 0;
  View<const T, 1, S> sent;
  std::int64_t from = 0;
  View<T, 1, S> received;
  Lane lane = Lane::first;
};

/// Collectives between the ranks of an axis. One implementation a back end: `mpi` (host memory); for device
/// memory `staged` (through host memory and MPI) and `nccl` (device/exchange_device.h). Every rank of the
/// group must make the same calls in the same order, ranks with nothing to give included. An axis of degree 1
/// makes all of them copies or no-ops. Rows are split along the first dim.
///
/// Adjoints (what backward calls): all_gather <-> reduce_scatter, all_reduce <-> identity,
/// all_to_all <-> all_to_all with the counts swapped, identity <-> all_reduce, messages <-> messages the
/// other way.
///
/// Sums are made element by element in the order of the index: the same call gives the same bits again, on
/// every rank of the group, however the message is cut. bf16 is summed in fp32 and rounded once. `nccl` alone
/// sums in an order of its own, and rounds bf16 at each addition; it too gives all ranks the same bits.
template <Space S>
class Exchange {
 public:
  virtual ~Exchange() = default;
  [[nodiscard]] virtual const Mesh& mesh() const = 0;

  /// In place, over all elements.
  template <class T>
  void all_reduce(Call call, View<T, 1, S> values, Reduction reduction, Queue<S> queue) {
    if (mesh().degree(call.axis) == 1) return;
    const PartScope scope(Part::exchange, queue);
    reduce(call, {values.data, values.size(), kDtypeOf<T>}, reduction, queue);
  }
  /// whole[degree * n] = the parts[n] of all ranks in the order of their index. `part` may be its own place
  /// in `whole`.
  template <class T>
  void all_gather(Call call, Input<T, 1, S> part, View<T, 1, S> whole, Queue<S> queue) {
    expect_shape(call.name, whole, {part.size() * mesh().degree(call.axis)});
    const PartScope scope(Part::exchange, queue);
    gather(call, {part.data, part.size(), kDtypeOf<T>}, whole.data, queue);
  }
  /// part[n] = the sum over ranks of their whole[index * n ...]; the adjoint of all_gather. `part` may be its
  /// own place in `whole`.
  template <class T>
  void reduce_scatter(Call call, Input<T, 1, S> whole, View<T, 1, S> part, Queue<S> queue) {
    expect_shape(call.name, whole, {part.size() * mesh().degree(call.axis)});
    const PartScope scope(Part::exchange, queue);
    scatter_sum(call, {whole.data, whole.size(), kDtypeOf<T>}, part.data, queue);
  }
  /// The same, but they go on while the rank computes, and sum in the same order. Collective as all_to_all:
  /// all ranks of the group start theirs in one order, other calls between.
  template <class T>
  Pending<S> start_all_gather(Call call, Input<T, 1, S> part, View<T, 1, S> whole, Queue<S> queue) {
    expect_shape(call.name, whole, {part.size() * mesh().degree(call.axis)});
    const PartScope scope(Part::exchange, queue);
    return start_gather(call, {part.data, part.size(), kDtypeOf<T>}, whole.data, queue);
  }
  template <class T>
  Pending<S> start_reduce_scatter(Call call, Input<T, 1, S> whole, View<T, 1, S> part, Queue<S> queue) {
    expect_shape(call.name, whole, {part.size() * mesh().degree(call.axis)});
    const PartScope scope(Part::exchange, queue);
    return start_scatter_sum(call, {whole.data, whole.size(), kDtypeOf<T>}, part.data, queue);
  }
  /// Sends the rows of block i of `send` to index i; block i of `receive` comes from there. The buffers must
  /// not overlap.
  template <class T>
  void all_to_all(Call call, RowBlocks<std::type_identity_t<const T>, S> send, RowBlocks<T, S> receive,
                  Queue<S> queue) {
    const RowSwap swap = row_swap<T>(call, send, receive);
    const PartScope scope(Part::exchange, queue);
    swap_rows(call, swap, queue);
  }
  /// The same, but it goes on while the rank computes. Collective as all_to_all: all ranks of the group start
  /// theirs in one order, other calls between.
  template <class T>
  Pending<S> start_all_to_all(Call call, RowBlocks<std::type_identity_t<const T>, S> send,
                              RowBlocks<T, S> receive, Queue<S> queue) {
    const PartScope scope(Part::exchange, queue);
    return start_swap(call, row_swap<T>(call, send, receive), queue);
  }
  /// Starts both messages as one: where each rank of a ring sends on and receives, none waits for another's
  /// turn. Only the two ranks of a message take part in it.
  template <class T>
  Pending<S> start_messages(Call call, const Messages<T, S>& messages, Queue<S> queue) {
    const auto& [to, sent, from, received, lane] = messages;
    const PartScope scope(Part::exchange, queue);
    return start(call,
                 {{sent.data, sent.size(), kDtypeOf<T>},
                  to,
                  {received.data, received.size(), kDtypeOf<T>},
                  from,
                  lane},
                 queue);
  }
  /// Every rank tells every other rank of the axis `counts.size() / degree` numbers (host memory in both
  /// spaces).
  virtual void swap_counts(Call call, std::span<const std::int64_t> sent,
                           std::span<std::int64_t> received) = 0;
  /// Returns when everything that was queued is done. Where that may hang on another rank (nccl), the
  /// watchdog knows of it under `call`, so all ranks of the axis wait at this point. What lies before a wait
  /// must take less than the watchdog's timeout.
  virtual void wait(Call, Queue<S> queue) { moebius::wait(queue); }
  [[nodiscard]] virtual Traffic traffic(Axis axis) const = 0;

 protected:
  struct Values {
    const void* data;
    std::int64_t count;
    Dtype dtype;
  };
  struct RowSwap {
    Values send;
    void* receive;
    std::int64_t columns;
    std::span<const std::int64_t> sent_rows, received_rows;
  };
  struct InPlace {
    void* data;
    std::int64_t count;
    Dtype dtype;
  };
  struct MessagePair {
    Values sent;
    std::int64_t to;
    InPlace received;
    std::int64_t from;
    Lane lane;
  };
  virtual void reduce(Call call, InPlace values, Reduction reduction, Queue<S> queue) = 0;
  virtual void gather(Call call, Values part, void* whole, Queue<S> queue) = 0;
  virtual void scatter_sum(Call call, Values whole, void* part, Queue<S> queue) = 0;
  virtual void swap_rows(Call call, const RowSwap& swap, Queue<S> queue) = 0;
  virtual Pending<S> start(Call call, const MessagePair& messages, Queue<S> queue) = 0;
  virtual Pending<S> start_swap(Call call, const RowSwap& swap, Queue<S> queue) = 0;
  /// Done at once, where a back end has nothing better.
  virtual Pending<S> start_gather(Call call, Values part, void* whole, Queue<S> queue) {
    gather(call, part, whole, queue);
    return {};
  }
  virtual Pending<S> start_scatter_sum(Call call, Values whole, void* part, Queue<S> queue) {
    scatter_sum(call, whole, part, queue);
    return {};
  }

 private:
  template <class T>
  [[nodiscard]] RowSwap row_swap(Call call, const RowBlocks<const T, S>& send,
                                 const RowBlocks<T, S>& receive) const {
    expect_rows(call, send.counts, send.rows.shape[0]);
    expect_rows(call, receive.counts, receive.rows.shape[0]);
    expect_shape(call.name, send.rows, {send.rows.shape[0], receive.rows.shape[1]});
    return {{send.rows.data, send.rows.size(), kDtypeOf<T>},
            receive.rows.data,
            receive.rows.shape[1],
            send.counts,
            receive.counts};
  }
  void expect_rows(Call call, std::span<const std::int64_t> rows, std::int64_t there_are) const {
    const std::array<std::int64_t, 2> got{std::int64_t(rows.size()),
                                          std::accumulate(rows.begin(), rows.end(), std::int64_t{0})};
    const std::array<std::int64_t, 2> expected{mesh().degree(call.axis), there_are};
    if (got == expected) return;
    throw ShapeError(std::string(call.name) + ": [parts, rows] expected " + shape_text(expected.data(), 2) +
                     ", got " + shape_text(got.data(), 2));
  }
};

/// The exchange of a program of one rank: copies.
template <Space S>
[[nodiscard]] std::unique_ptr<Exchange<S>> make_local_exchange();

}  // namespace moebius::parallel

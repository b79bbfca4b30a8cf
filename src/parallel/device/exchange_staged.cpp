#include "parallel/device/exchange_staged.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "base/math.h"
#include "parallel/device/copy.h"
#include "tensor/arena.h"

namespace moebius::parallel {
namespace {

/// work(T{}) with the type that `dtype` names.
template <class Work>
void with_type(Dtype dtype, Work&& work) {
  switch (dtype) {
    case Dtype::float32: return work(float{});
    case Dtype::bfloat16: return work(bf16{});
    case Dtype::float64: return work(double{});
    case Dtype::int32: return work(std::int32_t{});
    case Dtype::int64: return work(std::int64_t{});
    case Dtype::float16: break;
  }
  throw std::invalid_argument("no exchange of " + std::string(name_of(dtype)));
}

/// [0, count) in pieces of at most `most`.
template <class Work>
void in_segments(std::int64_t count, std::int64_t most, Work&& work) {
  most = std::max<std::int64_t>(1, most);
  for (std::int64_t begin = 0; begin < count; begin += most)
    work(Range{begin, std::min(count, begin + most)});
}

/// Pinned memory that grows to what the largest call needs and stays. The copies of one call may still run
/// when the next one takes it, so the host touches it only behind a wait for the queue.
class PinnedBuffer {
 public:
  template <class T>
  View<T, 1, Space::host> take(std::int64_t count, Queue<Space::device> queue) {
    const std::int64_t bytes = count * std::int64_t(sizeof(T));
    if (bytes > memory_.size()) grow(bytes, queue);
    return {reinterpret_cast<T*>(memory_.data), {count}};
  }

 private:
  void grow(std::int64_t bytes, Queue<Space::device> queue) {
    moebius::wait(queue);
    const std::int64_t size = std::max({bytes, 2 * memory_.size(), kLeast});
    memory_ = {};
    arena_.release({});
    arena_.reserve(size);
    memory_ = arena_.make<std::byte>(size);
  }

  static constexpr std::int64_t kLeast = std::int64_t{1} << 16;
  Staging<Space::device> arena_{"staging memory of collectives"};
  View<std::byte, 1, Space::host> memory_;
};

class StagedExchange final : public Exchange<Space::device> {
 public:
  StagedExchange(std::unique_ptr<Exchange<Space::host>> host, const StagingLimits& limits)
      : host_(std::move(host)), limits_(limits) {}

  [[nodiscard]] const Mesh& mesh() const override { return host_->mesh(); }
  [[nodiscard]] Traffic traffic(Axis axis) const override { return host_->traffic(axis); }
  void swap_counts(Call call, std::span<const std::int64_t> sent, std::span<std::int64_t> received) override {
    host_->swap_counts(call, sent, received);
  }

 private:
  void reduce(Call call, InPlace values, Reduction reduction, Queue<Space::device> queue) override {
    with_type(values.dtype, [&](auto zero) {
      using T = decltype(zero);
      in_segments(values.count, limits_.segment_bytes / size_of(values.dtype), [&](Range segment) {
        const View<T, 1, Space::device> part(static_cast<T*>(values.data) + segment.begin, {segment.size()});
        const View<T, 1, Space::host> staged = pinned_.take<T>(part.size(), queue);
        download<T>(part, staged, queue);
        moebius::wait(queue);
        host_->all_reduce<T>(call, staged, reduction, {});
        upload<T>(staged, part, queue);
      });
    });
  }

  void gather(Call call, Values part, void* whole, Queue<Space::device> queue) override {
    const std::int64_t degree = mesh().degree(call.axis);
    if (degree == 1) return copy_on_device(part.data, whole, part.count * size_of(part.dtype), queue);
    with_type(part.dtype, [&](auto zero) {
      using T = decltype(zero);
      const View<const T, 1, Space::device> from(static_cast<const T*>(part.data), {part.count});
      const View<T, 2, Space::device> to(static_cast<T*>(whole), {degree, part.count});
      in_segments(part.count, segment_of(call.axis, part.dtype), [&](Range segment) {
        const View<T, 1, Space::host> staged = pinned_.take<T>(degree * segment.size(), queue);
        const View<T, 1, Space::host> own = own_place(call.axis, staged);
        download<T>(from.slice(segment.begin, segment.size()), own, queue);
        moebius::wait(queue);
        host_->all_gather<T>(call, own, staged, {});
        for (std::int64_t i = 0; i < degree; ++i)
          upload<T>(staged.slice(i * segment.size(), segment.size()), columns(to, i, segment), queue);
      });
    });
  }

  void scatter_sum(Call call, Values whole, void* part, Queue<Space::device> queue) override {
    const std::int64_t degree = mesh().degree(call.axis);
    if (degree == 1) return copy_on_device(whole.data, part, whole.count * size_of(whole.dtype), queue);
    with_type(whole.dtype, [&](auto zero) {
      using T = decltype(zero);
      const std::int64_t count = whole.count / degree;
      const View<const T, 2, Space::device> from(static_cast<const T*>(whole.data), {degree, count});
      const View<T, 1, Space::device> to(static_cast<T*>(part), {count});
      in_segments(count, segment_of(call.axis, whole.dtype), [&](Range segment) {
        const View<T, 1, Space::host> staged = pinned_.take<T>(degree * segment.size(), queue);
        for (std::int64_t i = 0; i < degree; ++i)
          download<T>(columns(from, i, segment), staged.slice(i * segment.size(), segment.size()), queue);
        moebius::wait(queue);
        const View<T, 1, Space::host> own = own_place(call.axis, staged);
        host_->reduce_scatter<T>(call, staged, own, {});
        upload<T>(own, to.slice(segment.begin, segment.size()), queue);
      });
    });
  }

  void swap_rows(Call call, const RowSwap& swap, Queue<Space::device> queue) override {
    if (mesh().degree(call.axis) == 1)
      return copy_on_device(swap.send.data, swap.receive, swap.send.count * size_of(swap.send.dtype), queue);
    with_type(swap.send.dtype, [&](auto zero) {
      using T = decltype(zero);
      const std::int64_t sent =
          std::accumulate(swap.sent_rows.begin(), swap.sent_rows.end(), std::int64_t{0});
      const std::int64_t received =
          std::accumulate(swap.received_rows.begin(), swap.received_rows.end(), std::int64_t{0});
      const View<T, 2, Space::host> staged(pinned_.take<T>((sent + received) * swap.columns, queue).data,
                                           {sent + received, swap.columns});
      const View<T, 2, Space::host> leaving = staged.slice(0, sent), arriving = staged.slice(sent, received);
      download_bytes(swap.send.data, leaving.data, leaving.size() * std::int64_t(sizeof(T)), queue);
      moebius::wait(queue);
      host_->all_to_all<T>(call, {leaving, swap.sent_rows}, {arriving, swap.received_rows}, {});
      upload_bytes(arriving.data, swap.receive, arriving.size() * std::int64_t(sizeof(T)), queue);
    });
  }

  /// Pinned memory of what is on its way; it goes back to the exchange when all has arrived.
  using Buffer = std::unique_ptr<PinnedBuffer>;
  class Flight final : public Pending<Space::device>::Work {
   public:
    /// Waits until `sent` is in host memory.
    Flight(StagedExchange& exchange, Values sent, InPlace received, Queue<Space::device> queue)
        : exchange_(exchange), buffer_(exchange.take_buffer()), received_(received) {
      const std::int64_t sent_bytes = sent.count * size_of(sent.dtype);
      const View<std::byte, 1, Space::host> staged =
          buffer_->take<std::byte>(round_up(sent_bytes, kAlignment) + received_bytes(), queue);
      download_bytes(sent.data, staged.data, sent_bytes, queue);
      moebius::wait(queue);
      leaving_ = staged.data;
      arriving_ = staged.data + round_up(sent_bytes, kAlignment);
    }
    template <class T>
    [[nodiscard]] T* leaving() const {
      return reinterpret_cast<T*>(leaving_);
    }
    template <class T>
    [[nodiscard]] T* arriving() const {
      return reinterpret_cast<T*>(arriving_);
    }
    void started(Pending<Space::host> pending) { pending_ = std::move(pending); }
    void wait(Queue<Space::device> queue) override {
      pending_.wait({});
      upload_bytes(arriving_, received_.data, received_bytes(), queue);
      exchange_.buffers_.push_back(std::move(buffer_));
    }

   private:
    static constexpr std::int64_t kAlignment = 64;
    [[nodiscard]] std::int64_t received_bytes() const { return received_.count * size_of(received_.dtype); }
    StagedExchange& exchange_;
    Buffer buffer_;
    InPlace received_;
    std::byte *leaving_ = nullptr, *arriving_ = nullptr;
    Pending<Space::host> pending_;
  };

  /// Copies of an earlier message may still run in it.
  Buffer take_buffer() {
    if (buffers_.empty()) return std::make_unique<PinnedBuffer>();
    Buffer buffer = std::move(buffers_.back());
    buffers_.pop_back();
    return buffer;
  }

  Pending<Space::device> start(Call call, const MessagePair& messages, Queue<Space::device> queue) override {
    auto flight = std::make_unique<Flight>(*this, messages.sent, messages.received, queue);
    with_type(messages.sent.dtype, [&](auto zero) {
      using T = decltype(zero);
      flight->started(host_->start_messages(
          call,
          Messages<T, Space::host>{.to = messages.to,
                                   .sent = {flight->template leaving<const T>(), {messages.sent.count}},
                                   .from = messages.from,
                                   .received = {flight->template arriving<T>(), {messages.received.count}},
                                   .lane = messages.lane},
          {}));
    });
    return Pending<Space::device>(std::move(flight));
  }

  Pending<Space::device> start_swap(Call call, const RowSwap& swap, Queue<Space::device> queue) override {
    if (mesh().degree(call.axis) == 1) {
      swap_rows(call, swap, queue);
      return {};
    }
    const std::int64_t sent = std::accumulate(swap.sent_rows.begin(), swap.sent_rows.end(), std::int64_t{0});
    const std::int64_t received =
        std::accumulate(swap.received_rows.begin(), swap.received_rows.end(), std::int64_t{0});
    auto flight = std::make_unique<Flight>(
        *this, swap.send, InPlace{swap.receive, received * swap.columns, swap.send.dtype}, queue);
    with_type(swap.send.dtype, [&](auto zero) {
      using T = decltype(zero);
      const View<T, 2, Space::host> leaving(flight->template leaving<T>(), {sent, swap.columns});
      const View<T, 2, Space::host> arriving(flight->template arriving<T>(), {received, swap.columns});
      flight->started(
          host_->start_all_to_all<T>(call, {leaving, swap.sent_rows}, {arriving, swap.received_rows}, {}));
    });
    return Pending<Space::device>(std::move(flight));
  }

  /// Elements of each rank's part that go at once.
  [[nodiscard]] std::int64_t segment_of(Axis axis, Dtype dtype) const {
    return limits_.segment_bytes / size_of(dtype) / mesh().degree(axis);
  }
  /// This rank's part of what all ranks of the axis have, laid end to end.
  template <class T>
  [[nodiscard]] View<T, 1, Space::host> own_place(Axis axis, View<T, 1, Space::host> whole) const {
    const std::int64_t count = whole.size() / mesh().degree(axis);
    return whole.slice(mesh().index(axis) * count, count);
  }
  template <class T>
  [[nodiscard]] static View<T, 1, Space::device> columns(View<T, 2, Space::device> rows, std::int64_t row,
                                                         Range range) {
    return {rows.data + row * rows.shape[1] + range.begin, {range.size()}};
  }

  std::unique_ptr<Exchange<Space::host>> host_;
  StagingLimits limits_;
  PinnedBuffer pinned_;
  std::vector<Buffer> buffers_;  // not in use
};

}  // namespace

std::unique_ptr<Exchange<Space::device>> make_staged_exchange(std::unique_ptr<Exchange<Space::host>> host,
                                                              const StagingLimits& limits) {
  return std::make_unique<StagedExchange>(std::move(host), limits);
}

}  // namespace moebius::parallel

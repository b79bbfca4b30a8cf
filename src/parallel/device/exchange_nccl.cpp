#include "parallel/device/exchange_nccl.h"

#include <cuda_runtime_api.h>

#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>
#include <thread>

#include "base/stopwatch.h"
#include "parallel/device/copy.h"
#include "parallel/device/nccl.h"
#include "parallel/exchange_mpi.h"
#include "tensor/arena.h"

namespace moebius::parallel {
namespace {

using cluster::Cluster;
using cluster::Watch;

/// How long a wait looks without a pause: what lies between two layers. Then it leaves the core to others.
constexpr double kBusySeconds = 0.05;
constexpr std::chrono::microseconds kPause{50};

ncclDataType_t nccl_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return ncclFloat32;
    case Dtype::bfloat16: return ncclBfloat16;
    case Dtype::float16: return ncclFloat16;
    case Dtype::float64: return ncclFloat64;
    case Dtype::int32: return ncclInt32;
    case Dtype::int64: return ncclInt64;
  }
  throw std::invalid_argument("NCCL has no such type");
}

ncclRedOp_t nccl_reduction(Reduction reduction) {
  switch (reduction) {
    case Reduction::sum: return ncclSum;
    case Reduction::max: return ncclMax;
    case Reduction::min: return ncclMin;
  }
  throw std::invalid_argument("NCCL has no such reduction");
}

/// A collective in words, kept until the next one.
struct Queued {
  std::string operation, name;
  Axis axis = Axis::world;

  [[nodiscard]] std::string text() const {
    return fmt::format("{} of {} on axis {}", operation, name, cluster::name_of(axis));
  }
};

/// A stream that waits for no other. What is ready on it starts before what computes, so that it runs beside
/// it rather than behind.
class Stream {
 public:
  Stream() {
    int lowest = 0, highest = 0;
    moebius::check(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
    moebius::check(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking, highest));
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(handle_); }
  [[nodiscard]] cudaStream_t get() const { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

/// The way of the messages of one lane from one stage of the pipeline to a neighbour. A stage announces what
/// it will receive before it sends, and its neighbours do too: with a communicator or a stream for several
/// ways, each would wait for the other.
struct Link {
  std::int64_t from = 0, to = 0;  // indices of Axis::pipeline
  Lane lane = Lane::first;
  std::unique_ptr<NcclCommunicator> communicator;
  Stream stream;
};

class NcclExchange final : public Exchange<Space::device> {
 public:
  NcclExchange(Cluster& cluster, const Mesh& mesh)
      : cluster_(cluster), host_(make_mpi_exchange(cluster, mesh)) {
    // As in the exchange over MPI: axes with the same ranks share. All ranks connect those axes that are
    // new, also where a rank's own group is itself alone.
    for (int axis = 0; axis < cluster::kAxisCount; ++axis) {
      int same = 0;
      while (!mesh.share_groups(Axis(same), Axis(axis))) ++same;
      const bool is_new = same == axis, is_split = axis == int(Axis::ends) || mesh.degree(Axis(axis)) > 1;
      if (is_new && is_split) groups_.push_back(connect(Axis(axis)));
      by_axis_[std::size_t(axis)] =
          is_new ? (is_split ? groups_.back().get() : nullptr) : by_axis_[std::size_t(same)];
    }
    std::erase(groups_, nullptr);
    if (mesh.degree(Axis::pipeline) > 1) connect_links();
  }
  NcclExchange(const NcclExchange&) = delete;
  NcclExchange& operator=(const NcclExchange&) = delete;

  ~NcclExchange() override {
    // With an error on its way, what is queued may wait for a rank that will never come.
    const bool unwinding = std::uncaught_exceptions() > exceptions_;
    const Watch watch(cluster_.watchdog(), Axis::world, "end of NCCL", unwinding ? "an error" : "done");
    if (unwinding) each_communicator([](NcclCommunicator& one) { one.abort(); });
    links_.clear();
    groups_.clear();
  }

  [[nodiscard]] const Mesh& mesh() const override { return host_->mesh(); }

  void swap_counts(Call call, std::span<const std::int64_t> sent, std::span<std::int64_t> received) override {
    host_->swap_counts(call, sent, received);
  }

  [[nodiscard]] Traffic traffic(Axis axis) const override {
    Traffic all = traffic_[std::size_t(axis)];
    const Traffic counts = host_->traffic(axis);
    all.calls += counts.calls, all.bytes += counts.bytes, all.seconds += counts.seconds;
    return all;
  }

  void wait(Call call, Queue<Space::device> queue) override {
    const std::string name =
        last_.name.empty() ? std::string(call.name) : fmt::format("{}, after {}", call.name, last_.text());
    const Watch watch(cluster_.watchdog(), call.axis, "wait", name);
    for (const Stopwatch spent; !is_idle(queue);) {
      expect_no_error();
      if (spent.seconds() < kBusySeconds)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(kPause);
    }
  }

 private:
  std::unique_ptr<NcclCommunicator> connect(Axis axis) {
    const Mesh& mesh = host_->mesh();
    const std::string own = mesh.index(axis) == 0 ? NcclCommunicator::new_id() : std::string();
    const std::vector<std::string> ids = cluster_.all_gather("ids of NCCL", own);
    if (mesh.degree(axis) == 1) return nullptr;
    const std::string name = cluster::name_of(axis);
    const Watch watch(cluster_.watchdog(), axis, "ncclCommInitRank", name);
    return std::make_unique<NcclCommunicator>(
        NcclCommunicator::Place{mesh.degree(axis), mesh.index(axis), name},
        ids[std::size_t(mesh.group(axis).front())]);
  }

  /// Streams go to the next stage, gradients to the one before, with several chunks a stage round the ends.
  /// All ranks take the links in one order, so that no two wait for each other.
  void connect_links() {
    const Mesh& mesh = host_->mesh();
    const std::int64_t stages = mesh.degree(Axis::pipeline), own = mesh.index(Axis::pipeline);
    for (const Lane lane : {Lane::first, Lane::second}) {
      const std::vector<std::string> ids = cluster_.all_gather("ids of NCCL", NcclCommunicator::new_id());
      for (std::int64_t from = 0; from < stages; ++from) {
        const std::int64_t to = (from + (lane == Lane::first ? 1 : stages - 1)) % stages;
        if (own != from && own != to) continue;
        const std::string name = fmt::format("pipeline {} to {}", from, to);
        const Watch watch(cluster_.watchdog(), Axis::pipeline, "ncclCommInitRank", name);
        auto link = std::make_unique<Link>();
        link->from = from, link->to = to, link->lane = lane;
        const std::string& id = ids[std::size_t(mesh.group(Axis::pipeline)[std::size_t(from)])];
        link->communicator =
            std::make_unique<NcclCommunicator>(NcclCommunicator::Place{2, own == from ? 0 : 1, name}, id);
        first_message(*link);
        links_.push_back(std::move(link));
      }
    }
  }
  /// A communicator's first message makes its ranks' hosts wait for each other. Stages that announce what
  /// they will receive would wait in a ring, so that message is made here.
  void first_message(const Link& link) {
    Arena<Space::device> memory("first message", 256);
    std::byte* const byte = memory.make<std::byte>(1).data;
    const ncclComm_t communicator = link.communicator->get();
    const ncclResult_t status = link.from == mesh().index(Axis::pipeline)
                                    ? ncclSend(byte, 1, ncclInt8, 1, communicator, link.stream.get())
                                    : ncclRecv(byte, 1, ncclInt8, 0, communicator, link.stream.get());
    check(status);
    moebius::check(cudaStreamSynchronize(link.stream.get()));
  }
  [[nodiscard]] const Link& link(std::int64_t from, std::int64_t to, Lane lane) const {
    for (const auto& link : links_)
      if (link->from == from && link->to == to && link->lane == lane) return *link;
    throw std::logic_error("a message of the pipeline between stages that are no neighbours");
  }
  template <class Visit>
  void each_communicator(Visit&& visit) {
    for (const auto& group : groups_) visit(*group);
    for (const auto& link : links_) visit(*link->communicator);
  }

  /// Queues `work(communicator)`, which sends `bytes` to others. The first call on a communicator connects
  /// its ranks and waits for them, so the watchdog looks on.
  template <class Work>
  void queue_call(Call call, std::string_view operation, std::int64_t bytes, Work&& work) {
    const Watch watch(cluster_.watchdog(), call.axis, operation, call.name);
    last_.operation.assign(operation), last_.name.assign(call.name), last_.axis = call.axis;
    const Stopwatch stopwatch;
    const ncclComm_t communicator = by_axis_[std::size_t(call.axis)]->get();
    const ncclResult_t status = work(communicator);
    if (status != ncclSuccess) fail(status, communicator);
    Traffic& traffic = traffic_[std::size_t(call.axis)];
    ++traffic.calls;
    traffic.bytes += bytes;
    traffic.seconds += stopwatch.seconds();
  }

  void reduce(Call call, InPlace values, Reduction reduction, Queue<Space::device> queue) override {
    if (values.count == 0) return;
    const std::int64_t degree = mesh().degree(call.axis), bytes = values.count * size_of(values.dtype);
    // A sum sends its parts and gathers the result, as a ring does.
    queue_call(call, "all_reduce", 2 * bytes * (degree - 1) / degree, [&](ncclComm_t communicator) {
      return ncclAllReduce(values.data, values.data, std::size_t(values.count), nccl_type(values.dtype),
                           nccl_reduction(reduction), communicator, queue.stream);
    });
  }

  void gather(Call call, Values part, void* whole, Queue<Space::device> queue) override {
    const std::int64_t degree = mesh().degree(call.axis), bytes = part.count * size_of(part.dtype);
    if (degree == 1) return copy_on_device(part.data, whole, bytes, queue);
    if (part.count == 0) return;
    queue_call(call, "all_gather", bytes * (degree - 1), [&](ncclComm_t communicator) {
      return ncclAllGather(part.data, whole, std::size_t(part.count), nccl_type(part.dtype), communicator,
                           queue.stream);
    });
  }

  void scatter_sum(Call call, Values whole, void* part, Queue<Space::device> queue) override {
    const std::int64_t degree = mesh().degree(call.axis), bytes = whole.count * size_of(whole.dtype);
    if (degree == 1) return copy_on_device(whole.data, part, bytes, queue);
    if (whole.count == 0) return;
    queue_call(call, "reduce_scatter", bytes / degree * (degree - 1), [&](ncclComm_t communicator) {
      return ncclReduceScatter(whole.data, part, std::size_t(whole.count / degree), nccl_type(whole.dtype),
                               ncclSum, communicator, queue.stream);
    });
  }

  void swap_rows(Call call, const RowSwap& swap, Queue<Space::device> queue) override {
    const std::int64_t row = swap.columns * size_of(swap.send.dtype);
    if (mesh().degree(call.axis) == 1)
      return copy_on_device(swap.send.data, swap.receive, swap.sent_rows[0] * row, queue);
    const std::int64_t own_rows = swap.sent_rows[std::size_t(mesh().index(call.axis))];
    const std::int64_t bytes = swap.send.count * size_of(swap.send.dtype) - own_rows * row;
    queue_call(call, "all_to_all", bytes, [&](ncclComm_t communicator) {
      return send_and_receive(swap, mesh().index(call.axis), communicator, queue);
    });
  }

  /// Messages of an axis go over a stream of their own, beside what is queued: one that a stage has announced
  /// early must not hold up those between context ranks, which that stage may wait for. An event says when
  /// the buffers of `sent` are ready, then when the messages are through.
  class Flight final : public Pending<Space::device>::Work {
   public:
    Flight(cudaStream_t stream, cudaStream_t of_buffers) {
      moebius::check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
      moebius::check(cudaEventRecord(event_, of_buffers));
      moebius::check(cudaStreamWaitEvent(stream, event_));
    }
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;
    ~Flight() override { cudaEventDestroy(event_); }  // the device keeps what still waits for it
    void started(cudaStream_t stream) { moebius::check(cudaEventRecord(event_, stream)); }
    void wait(Queue<Space::device> queue) override {
      moebius::check(cudaStreamWaitEvent(queue.stream, event_));
    }

   private:
    cudaEvent_t event_ = nullptr;
  };

  [[nodiscard]] cudaStream_t message_stream(Axis axis) {
    std::unique_ptr<Stream>& stream = message_streams_[std::size_t(axis)];
    if (!stream) stream = std::make_unique<Stream>();
    return stream->get();
  }

  Pending<Space::device> start(Call call, const MessagePair& messages, Queue<Space::device> queue) override {
    const Values& sent = messages.sent;
    const InPlace& received = messages.received;
    const std::int64_t bytes = sent.count * size_of(sent.dtype),
                       received_bytes = received.count * size_of(received.dtype);
    if (mesh().degree(call.axis) == 1) {
      copy_on_device(sent.data, received.data, bytes, queue);
      return {};
    }
    if (call.axis == Axis::pipeline) return start_on_link(call, messages, queue);
    const cudaStream_t stream = message_stream(call.axis);
    auto flight = std::make_unique<Flight>(stream, queue.stream);
    queue_call(call, "messages", bytes, [&](ncclComm_t communicator) {
      ncclResult_t status = ncclGroupStart();
      if (bytes > 0 && status == ncclSuccess)
        status = ncclSend(sent.data, std::size_t(bytes), ncclInt8, int(messages.to), communicator, stream);
      if (received_bytes > 0 && status == ncclSuccess)
        status = ncclRecv(received.data, std::size_t(received_bytes), ncclInt8, int(messages.from),
                          communicator, stream);
      const ncclResult_t ended = ncclGroupEnd();
      return status != ncclSuccess ? status : ended;
    });
    flight->started(stream);
    return Pending<Space::device>(std::move(flight));
  }

  /// One of `sent` and `received` is empty: each has a link of its own.
  Pending<Space::device> start_on_link(Call call, const MessagePair& messages, Queue<Space::device> queue) {
    const std::int64_t own = mesh().index(Axis::pipeline);
    const std::int64_t bytes = messages.sent.count * size_of(messages.sent.dtype),
                       received_bytes = messages.received.count * size_of(messages.received.dtype);
    if (bytes > 0 && received_bytes > 0) throw std::logic_error("a message of the pipeline both ways");
    if (bytes == 0 && received_bytes == 0) return {};
    const Link& way =
        bytes > 0 ? link(own, messages.to, messages.lane) : link(messages.from, own, messages.lane);
    const cudaStream_t stream = way.stream.get();
    auto flight = std::make_unique<Flight>(stream, queue.stream);
    queue_call(call, "messages", bytes, [&](ncclComm_t) {
      const ncclComm_t communicator = way.communicator->get();
      return bytes > 0 ? ncclSend(messages.sent.data, std::size_t(bytes), ncclInt8, 1, communicator, stream)
                       : ncclRecv(messages.received.data, std::size_t(received_bytes), ncclInt8, 0,
                                  communicator, stream);
    });
    flight->started(stream);
    return Pending<Space::device>(std::move(flight));
  }

  /// Each kind on a stream of its own: what waits for another stage, or for all that a bucket of gradients
  /// weighs, must not hold the others up.
  Pending<Space::device> start_swap(Call call, const RowSwap& swap, Queue<Space::device> queue) override {
    return start_on(swap_stream_, call.axis, queue, [&](auto on) { swap_rows(call, swap, on); });
  }
  Pending<Space::device> start_gather(Call call, Values part, void* whole,
                                      Queue<Space::device> queue) override {
    return start_on(bucket_stream_, call.axis, queue, [&](auto on) { gather(call, part, whole, on); });
  }
  Pending<Space::device> start_scatter_sum(Call call, Values whole, void* part,
                                           Queue<Space::device> queue) override {
    return start_on(bucket_stream_, call.axis, queue, [&](auto on) { scatter_sum(call, whole, part, on); });
  }

  /// Queues `work(queue)` on `stream`; on the queue itself where there is no other rank.
  template <class Work>
  Pending<Space::device> start_on(const Stream& stream, Axis axis, Queue<Space::device> queue, Work&& work) {
    if (mesh().degree(axis) == 1) {
      work(queue);
      return {};
    }
    auto flight = std::make_unique<Flight>(stream.get(), queue.stream);
    Queue<Space::device> beside = queue;
    beside.stream = stream.get();
    work(beside);
    flight->started(stream.get());
    return Pending<Space::device>(std::move(flight));
  }

  /// An empty block is no message: both sides know that it is empty. The own block is a copy.
  static ncclResult_t send_and_receive(const RowSwap& swap, std::int64_t own, ncclComm_t communicator,
                                       Queue<Space::device> queue) {
    const std::int64_t row = swap.columns * size_of(swap.send.dtype);
    const auto* from = static_cast<const std::byte*>(swap.send.data);
    auto* to = static_cast<std::byte*>(swap.receive);
    ncclResult_t status = ncclGroupStart();
    for (std::size_t i = 0; i < swap.sent_rows.size(); ++i) {
      const std::int64_t sent = swap.sent_rows[i] * row, received = swap.received_rows[i] * row;
      const bool is_own = std::int64_t(i) == own;
      if (is_own) copy_on_device(from, to, sent, queue);
      if (!is_own && sent > 0 && status == ncclSuccess)
        status = ncclSend(from, std::size_t(sent), ncclInt8, int(i), communicator, queue.stream);
      if (!is_own && received > 0 && status == ncclSuccess)
        status = ncclRecv(to, std::size_t(received), ncclInt8, int(i), communicator, queue.stream);
      from += sent;
      to += received;
    }
    const ncclResult_t ended = ncclGroupEnd();
    return status != ncclSuccess ? status : ended;
  }

  /// Whether all that was queued is done.
  static bool is_idle(Queue<Space::device> queue) {
    const cudaError_t status = cudaStreamQuery(queue.stream);
    if (status != cudaErrorNotReady) {
      moebius::check(status);
      return true;
    }
    static_cast<void>(cudaGetLastError());  // not a fault that the next launch should see
    return false;
  }

  void expect_no_error() {
    each_communicator([&](const NcclCommunicator& one) {
      const ncclResult_t error = one.background_error();
      if (error != ncclSuccess) fail(error, one.get());
    });
  }

  /// Other ranks and the stream may wait for what has failed: nothing can be unwound, so the job ends here.
  [[noreturn]] void fail(ncclResult_t status, ncclComm_t communicator) {
    cluster_.abort(ExitCode::cluster, fmt::format("NCCL, {}: {}; NCCL_DEBUG=WARN makes it say more",
                                                  last_.text(), nccl_error_text(status, communicator)));
  }

  Cluster& cluster_;
  Stream swap_stream_, bucket_stream_;
  std::array<std::unique_ptr<Stream>, cluster::kAxisCount>
      message_streams_;                                    // by axis, where it has messages
  std::unique_ptr<Exchange<Space::host>> host_;            // numbers of the host
  std::vector<std::unique_ptr<NcclCommunicator>> groups_;  // one for each set of ranks
  std::array<NcclCommunicator*, cluster::kAxisCount> by_axis_{};
  std::vector<std::unique_ptr<Link>> links_;  // of this stage
  std::array<Traffic, cluster::kAxisCount> traffic_{};
  Queued last_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

std::vector<std::pair<std::string, std::string>> nccl_environment() {
  return {
      // With it the switch adds, in an order of its own.
      {"NCCL_NVLS_ENABLE", "0"},
      // Streams that share one of the 8 connections to the GPU that are the default wait for each other. A
      // message that is announced early must hold up no other, so each stream has a connection.
      {"CUDA_DEVICE_MAX_CONNECTIONS", "32"},
  };
}

std::unique_ptr<Exchange<Space::device>> make_nccl_exchange(Cluster& cluster, const Mesh& mesh) {
  return std::make_unique<NcclExchange>(cluster, mesh);
}

}  // namespace moebius::parallel

#include "parallel/exchange_mpi.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "base/math.h"
#include "base/stopwatch.h"
#include "cluster/mpi.h"
#include "parallel/fold.h"
#include "parallel/mpi_progress.h"

namespace moebius::parallel {
namespace {

using cluster::check;
using cluster::Cluster;
using cluster::Communicator;

constexpr std::int64_t kPartnersAtOnce = 32;  // bounds the messages in flight
constexpr int kTag = 1;                       // of collectives
constexpr int kMessageTag = 2;                // of messages, which other calls may overtake; and the lane

/// Bytes for, or from, one index of the group.
struct Outgoing {
  const std::byte* data;
  std::int64_t bytes;
};
struct Incoming {
  std::byte* data;
  std::int64_t bytes;
};

/// Messages on their way, cut where MPI cannot count their bytes. An empty block is no message: both sides
/// know that it is empty.
class Requests {
 public:
  struct Kind {
    MPI_Comm group;
    int tag;
    std::int64_t message_bytes;
  };
  explicit Requests(const Kind& kind) : kind_(kind) {}

  void receive(const Incoming& block, std::int64_t from) {
    for (std::int64_t done = 0; done < block.bytes; done += kind_.message_bytes)
      check(MPI_Irecv(block.data + done, part_of(block.bytes, done), MPI_BYTE, int(from), kind_.tag,
                      kind_.group, &requests_.emplace_back()));
  }
  void send(const Outgoing& block, std::int64_t to) {
    for (std::int64_t done = 0; done < block.bytes; done += kind_.message_bytes)
      check(MPI_Isend(block.data + done, part_of(block.bytes, done), MPI_BYTE, int(to), kind_.tag,
                      kind_.group, &requests_.emplace_back()));
  }
  void wait() {
    check(MPI_Waitall(int(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
    requests_.clear();
  }

 private:
  [[nodiscard]] int part_of(std::int64_t bytes, std::int64_t done) const {
    return int(std::min(kind_.message_bytes, bytes - done));
  }
  Kind kind_;
  std::vector<MPI_Request> requests_;
};

/// Every collective is made of blocks that go straight from rank to rank, because that leaves the order of
/// sums to us (MPI promises none), moves blocks from and to where they lie, and knows no limit of 2^31
/// elements.
class BlockSwap {
 public:
  BlockSwap(const Communicator& group, std::int64_t message_bytes)
      : size_(group.size()), index_(group.rank()), requests_({group.get(), kTag, message_bytes}) {}

  /// outgoing[i] goes to index i, incoming[i] comes from there. Returns the bytes that went to others.
  std::int64_t run(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) {
    const auto own = std::size_t(index_);
    if (outgoing[own].bytes > 0 && outgoing[own].data != incoming[own].data)
      std::memcpy(incoming[own].data, outgoing[own].data, std::size_t(outgoing[own].bytes));
    std::int64_t sent = 0;
    for (std::int64_t begin = 1; begin < size_; begin += kPartnersAtOnce) {
      const std::int64_t end = std::min(size_, begin + kPartnersAtOnce);
      for (std::int64_t step = begin; step < end; ++step) {
        const std::int64_t from = (index_ - step + size_) % size_;
        requests_.receive(incoming[std::size_t(from)], from);
      }
      for (std::int64_t step = begin; step < end; ++step) {
        const std::int64_t to = (index_ + step) % size_;
        requests_.send(outgoing[std::size_t(to)], to);
        sent += outgoing[std::size_t(to)].bytes;
      }
      requests_.wait();
    }
    return sent;
  }

 private:
  std::int64_t size_, index_;
  Requests requests_;
};

/// The blocks of equal or balanced size that tile a buffer.
template <class Block, class Byte>
std::vector<Block> tiles(Byte* data, std::int64_t count, std::int64_t parts, std::int64_t element) {
  std::vector<Block> blocks;
  for (std::int64_t i = 0; i < parts; ++i) {
    const Range part = balanced_part(count, parts, i);
    blocks.push_back({data + part.begin * element, part.size() * element});
  }
  return blocks;
}

const std::byte* bytes_of(const void* data) {
  return static_cast<const std::byte*>(data);
}
std::byte* bytes_of(void* data) {
  return static_cast<std::byte*>(data);
}

class MpiExchange final : public Exchange<Space::host> {
 public:
  MpiExchange(Cluster& cluster, const Mesh& mesh, const MpiLimits& limits)
      : cluster_(cluster), mesh_(mesh), limits_(limits), progress_(cluster.world()) {
    if (mesh.size() != cluster.size() || mesh.rank() != cluster.rank())
      throw std::logic_error("make_mpi_exchange: the mesh is of another world");
    cluster.watchdog().use(mesh);
    for (int axis = 0; axis < cluster::kAxisCount; ++axis) {
      int same = 0;
      while (!mesh.share_groups(Axis(same), Axis(axis))) ++same;
      const bool is_new = same == axis;
      group_of_[std::size_t(axis)] = is_new ? groups_.size() : group_of_[std::size_t(same)];
      if (is_new)
        groups_.push_back(cluster.world().split(mesh.group(Axis(axis)).front(), mesh.index(Axis(axis))));
      swaps_.emplace_back(group(Axis(axis)), limits.message_bytes);
    }
  }

  [[nodiscard]] const Mesh& mesh() const override { return mesh_; }
  [[nodiscard]] Traffic traffic(Axis axis) const override { return traffic_[std::size_t(axis)]; }

  void swap_counts(Call call, std::span<const std::int64_t> sent, std::span<std::int64_t> received) override {
    const Running running(*this, call, "swap_counts");
    const std::int64_t degree = mesh_.degree(call.axis);
    const std::int64_t count = std::int64_t(sent.size());
    (void)divide_exactly(count, degree);
    running.swap(tiles<Outgoing>(bytes_of(sent.data()), count, degree, 8),
                 tiles<Incoming>(bytes_of(received.data()), count, degree, 8));
  }

 private:
  /// One call while it lasts: watched, timed, its bytes counted.
  class Running {
   public:
    Running(MpiExchange& exchange, Call call, std::string_view operation)
        : watch_(exchange.cluster_.watchdog(), call.axis, operation, call.name),
          swap_(exchange.swaps_[std::size_t(call.axis)]),
          traffic_(exchange.traffic_[std::size_t(call.axis)]) {}
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
      ++traffic_.calls;
      traffic_.seconds += stopwatch_.seconds();
    }
    void swap(const std::vector<Outgoing>& outgoing, const std::vector<Incoming>& incoming) const {
      traffic_.bytes += swap_.run(outgoing, incoming);
    }

   private:
    cluster::Watch watch_;
    BlockSwap& swap_;
    Traffic& traffic_;
    Stopwatch stopwatch_;
  };

  /// Messages until they are waited for, kept moving until then; the wait is watched and timed.
  class Flight : public Pending<Space::host>::Work {
   public:
    Flight(MpiExchange& exchange, Call call, std::string_view operation, Requests requests)
        : exchange_(exchange),
          axis_(call.axis),
          operation_(operation),
          name_(call.name),
          requests_(std::move(requests)) {
      exchange_.progress_.open();
    }
    void wait(Queue<Space::host>) override {
      const cluster::Watch watch(exchange_.cluster_.watchdog(), axis_, operation_, name_);
      const Stopwatch stopwatch;
      exchange_.progress_.close();
      requests_.wait();
      arrive();
      exchange_.traffic_[std::size_t(axis_)].seconds += stopwatch.seconds();
    }

   protected:
    /// What is left to do when all messages are there.
    virtual void arrive() {}
    [[nodiscard]] MpiExchange& exchange() const { return exchange_; }

   private:
    MpiExchange& exchange_;
    Axis axis_;
    std::string operation_, name_;
    Requests requests_;
  };

  [[nodiscard]] const Communicator& group(Axis axis) const { return groups_[group_of_[std::size_t(axis)]]; }

  Pending<Space::host> start(Call call, const MessagePair& messages, Queue<Space::host>) override {
    Traffic& traffic = traffic_[std::size_t(call.axis)];
    ++traffic.calls;
    if (messages.to != mesh_.index(call.axis))
      traffic.bytes += messages.sent.count * size_of(messages.sent.dtype);
    const auto& [sent, to, received, from, lane] = messages;
    Requests requests({group(call.axis).get(), kMessageTag + int(lane), limits_.message_bytes});
    requests.receive({bytes_of(received.data), received.count * size_of(received.dtype)}, from);
    requests.send({bytes_of(sent.data), sent.count * size_of(sent.dtype)}, to);
    return Pending<Space::host>(std::make_unique<Flight>(*this, call, "messages", std::move(requests)));
  }

  Pending<Space::host> start_swap(Call call, const RowSwap& swap, Queue<Space::host>) override {
    const RowBlockLists blocks(swap);
    return Pending<Space::host>(std::make_unique<Flight>(
        *this, call, "all_to_all", start_blocks(call, blocks.outgoing, blocks.incoming)));
  }

  /// outgoing[i] goes to index i, incoming[i] comes from there; the own block is there at once.
  Requests start_blocks(Call call, const std::vector<Outgoing>& outgoing,
                        const std::vector<Incoming>& incoming) {
    Requests requests({group(call.axis).get(), kTag, limits_.message_bytes});
    const std::int64_t degree = mesh_.degree(call.axis), own = mesh_.index(call.axis);
    const Outgoing& mine = outgoing[std::size_t(own)];
    if (mine.bytes > 0 && mine.data != incoming[std::size_t(own)].data)
      std::memcpy(incoming[std::size_t(own)].data, mine.data, std::size_t(mine.bytes));
    Traffic& traffic = traffic_[std::size_t(call.axis)];
    ++traffic.calls;
    for (std::int64_t step = 1; step < degree; ++step) {
      const std::int64_t from = (own - step + degree) % degree;
      requests.receive(incoming[std::size_t(from)], from);
    }
    for (std::int64_t step = 1; step < degree; ++step) {
      const std::int64_t to = (own + step) % degree;
      requests.send(outgoing[std::size_t(to)], to);
      traffic.bytes += outgoing[std::size_t(to)].bytes;
    }
    return requests;
  }

  Pending<Space::host> start_gather(Call call, Values part, void* whole, Queue<Space::host>) override {
    const std::int64_t degree = mesh_.degree(call.axis), element = size_of(part.dtype);
    const std::vector<Outgoing> same(std::size_t(degree), {bytes_of(part.data), part.count * element});
    return Pending<Space::host>(std::make_unique<Flight>(
        *this, call, "all_gather",
        start_blocks(call, same, tiles<Incoming>(bytes_of(whole), part.count * degree, degree, element))));
  }

  /// A sum under way: the parts of all ranks, until they can be folded in the order of the index.
  class SumFlight final : public Flight {
   public:
    struct Sum {
      std::vector<std::byte> buffer;  // goes back to the exchange
      std::vector<const void*> parts;
      InPlace own;
    };
    SumFlight(MpiExchange& exchange, Call call, Requests requests, Sum sum)
        : Flight(exchange, call, "reduce_scatter", std::move(requests)), sum_(std::move(sum)) {}

   private:
    void arrive() override {
      fold({sum_.parts, sum_.own.data, sum_.own.count, sum_.own.dtype, Reduction::sum});
      exchange().sum_buffers_.push_back(std::move(sum_.buffer));
    }
    Sum sum_;
  };

  /// Takes memory for the others' parts; this rank's own stays where it is.
  Pending<Space::host> start_scatter_sum(Call call, Values whole, void* part, Queue<Space::host>) override {
    const std::int64_t degree = mesh_.degree(call.axis), own = mesh_.index(call.axis);
    const std::int64_t bytes = whole.count / degree * size_of(whole.dtype);
    SumFlight::Sum sum{.buffer = {}, .parts = {}, .own = {part, whole.count / degree, whole.dtype}};
    if (!sum_buffers_.empty()) {
      sum.buffer = std::move(sum_buffers_.back());
      sum_buffers_.pop_back();
    }
    sum.buffer.resize(std::max(sum.buffer.size(), std::size_t(bytes * (degree - 1))));
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    std::byte* next = sum.buffer.data();
    for (std::int64_t i = 0; i < degree; ++i) {
      const std::byte* const here = bytes_of(whole.data) + i * bytes;
      outgoing.push_back({here, i == own ? 0 : bytes});
      incoming.push_back({next, outgoing.back().bytes});
      sum.parts.push_back(i == own ? here : next);
      next += outgoing.back().bytes;
    }
    Requests requests = start_blocks(call, outgoing, incoming);
    return Pending<Space::host>(
        std::make_unique<SumFlight>(*this, call, std::move(requests), std::move(sum)));
  }

  void gather(Call call, Values part, void* whole, Queue<Space::host>) override {
    const Running running(*this, call, "all_gather");
    const std::int64_t degree = mesh_.degree(call.axis), element = size_of(part.dtype);
    running.swap(std::vector<Outgoing>(std::size_t(degree), {bytes_of(part.data), part.count * element}),
                 tiles<Incoming>(bytes_of(whole), part.count * degree, degree, element));
  }

  void swap_rows(Call call, const RowSwap& swap, Queue<Space::host>) override {
    const Running running(*this, call, "all_to_all");
    const RowBlockLists blocks(swap);
    running.swap(blocks.outgoing, blocks.incoming);
  }

  /// The blocks of an all_to_all where they lie.
  struct RowBlockLists {
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;

    explicit RowBlockLists(const RowSwap& swap) {
      const std::int64_t row = swap.columns * size_of(swap.send.dtype);
      const std::byte* from = bytes_of(swap.send.data);
      std::byte* to = bytes_of(swap.receive);
      for (std::size_t i = 0; i < swap.sent_rows.size(); ++i) {
        outgoing.push_back({from, swap.sent_rows[i] * row});
        incoming.push_back({to, swap.received_rows[i] * row});
        from += outgoing.back().bytes;
        to += incoming.back().bytes;
      }
    }
  };

  void scatter_sum(Call call, Values whole, void* part, Queue<Space::host>) override {
    const Running running(*this, call, "reduce_scatter");
    const std::int64_t degree = mesh_.degree(call.axis), element = size_of(whole.dtype);
    const std::int64_t count = whole.count / degree;
    const std::int64_t most = std::max<std::int64_t>(1, limits_.segment_bytes / element / degree);
    for (std::int64_t begin = 0; begin < count; begin += most) {
      const std::int64_t segment = std::min(most, count - begin);
      std::vector<Outgoing> outgoing;
      for (std::int64_t i = 0; i < degree; ++i)
        outgoing.push_back({bytes_of(whole.data) + (i * count + begin) * element, segment * element});
      sum_own(running, outgoing, {bytes_of(part) + begin * element, segment, whole.dtype}, Reduction::sum);
    }
  }

  void reduce(Call call, InPlace values, Reduction reduction, Queue<Space::host>) override {
    const Running running(*this, call, "all_reduce");
    const std::int64_t degree = mesh_.degree(call.axis), element = size_of(values.dtype);
    if (values.count * element <= limits_.small_bytes) {
      const std::vector<Outgoing> same(std::size_t(degree), {bytes_of(values.data), values.count * element});
      return sum_own(running, same, values, reduction);
    }
    const std::int64_t most = std::max<std::int64_t>(1, limits_.segment_bytes / element);
    for (std::int64_t begin = 0; begin < values.count; begin += most) {
      const std::int64_t segment = std::min(most, values.count - begin);
      std::byte* const data = bytes_of(values.data) + begin * element;
      // Each index sums one part; then everybody gets everybody's.
      const Range own = balanced_part(segment, degree, mesh_.index(call.axis));
      std::byte* const own_data = data + own.begin * element;
      sum_own(running, tiles<Outgoing>(data, segment, degree, element), {own_data, own.size(), values.dtype},
              reduction);
      running.swap(std::vector<Outgoing>(std::size_t(degree), {own_data, own.size() * element}),
                   tiles<Incoming>(data, segment, degree, element));
    }
  }

  /// Swaps outgoing blocks and folds what arrives, own block included, in the order of the index into `own`.
  void sum_own(const Running& running, const std::vector<Outgoing>& outgoing, InPlace own,
               Reduction reduction) {
    const std::int64_t degree = std::int64_t(outgoing.size()), bytes = own.count * size_of(own.dtype);
    scratch_.resize(std::max(scratch_.size(), std::size_t(bytes * degree)));
    const std::vector<Incoming> incoming = tiles<Incoming>(scratch_.data(), bytes * degree, degree, 1);
    running.swap(outgoing, incoming);
    std::vector<const void*> parts(incoming.size());
    std::transform(incoming.begin(), incoming.end(), parts.begin(),
                   [](const Incoming& block) { return block.data; });
    fold({parts, own.data, own.count, own.dtype, reduction});
  }

  Cluster& cluster_;
  Mesh mesh_;
  MpiLimits limits_;
  std::vector<Communicator> groups_;                         // one for each set of ranks
  std::array<std::size_t, cluster::kAxisCount> group_of_{};  // axes with the same ranks share
  std::vector<BlockSwap> swaps_;                             // by axis
  std::array<Traffic, cluster::kAxisCount> traffic_{};
  std::vector<std::byte> scratch_;
  std::vector<std::vector<std::byte>> sum_buffers_;  // of sums that were started, not in use
  MpiProgress progress_;                             // goes before the groups do
};

}  // namespace

std::unique_ptr<Exchange<Space::host>> make_mpi_exchange(Cluster& cluster, const Mesh& mesh,
                                                         const MpiLimits& limits) {
  return std::make_unique<MpiExchange>(cluster, mesh, limits);
}

}  // namespace moebius::parallel

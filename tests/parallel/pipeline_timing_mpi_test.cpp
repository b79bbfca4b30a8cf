#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <span>
#include <thread>

#include "cluster/cluster.h"
#include "parallel/parallel.h"
#include "parallel/pipeline/run.h"
#include "parallel/pipeline/simulate.h"
#include "tests/support/catch.h"

// The simulator against the executor, with real messages. Layers are slow here without a core of their own:
// the ranks of this test share a few, and what is measured is who waits for whom.

namespace moebius::parallel {
namespace {

using cluster::Cluster;
using Stream = View<float, 2, Space::host>;
using Key = std::pair<std::int64_t, std::int64_t>;  // micro batch, chunk

constexpr std::int64_t kStages = 4, kMicroBatches = 8;
/// Of a micro batch between stages, 256 KiB: MPI sends that in many parts, which must move while stages work.
constexpr std::array<std::int64_t, 2> kStream{256, 256};  // tokens, width
constexpr double kUnit = 0.1;  // seconds of a forward, of a gradient of inputs, of a gradient of weights
/// Noise of the machine only adds to the idle share: the best of so many runs counts.
constexpr int kRuns = 8;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A stage whose work takes time and counts how far a stream has come: through how many virtual stages.
class SlowStage final : public StageWork<float, Space::host> {
 public:
  SlowStage(const PipelineShape& shape, std::int64_t stage)
      : shape_(shape), stage_(stage), durations_{kUnit, kUnit, kUnit, shape.chunks} {}

  [[nodiscard]] std::array<std::int64_t, 2> shape_of(std::int64_t) const override { return kStream; }
  [[nodiscard]] Stream forward(const Instruction& instruction, Stream input) override {
    work(instruction);
    const std::int64_t done = shape_.virtual_stage(stage_, instruction.chunk);
    if (done > 0) expect(input, mark(instruction, done));
    const Stream result = take(instruction);
    std::fill_n(result.data, result.size(), mark(instruction, done + 1));
    return result;
  }
  void backward(const Instruction& instruction, Stream gradient) override {
    work(instruction);
    const std::int64_t place = shape_.virtual_stage(stage_, instruction.chunk);
    const std::int64_t done = shape_.virtual_stages() - 1 - place;
    if (done > 0) expect(gradient, mark(instruction, -done));
    if (place > 0) std::fill_n(gradient.data, gradient.size(), mark(instruction, -done - 1));
    free_.push_back(std::move(results_.extract({instruction.micro_batch, instruction.chunk}).mapped()));
  }
  void backward_weight(const Instruction& instruction) override { work(instruction); }

  [[nodiscard]] double busy() const { return busy_; }
  [[nodiscard]] bool got_what_was_sent() const { return got_what_was_sent_; }

 private:
  static float mark(const Instruction& instruction, std::int64_t done) {
    return float(1000 * instruction.micro_batch + done);
  }
  void work(const Instruction& instruction) {
    // What a sleep takes longer is the machine's noise and counts as idle: so noise only ever adds to that.
    const double seconds = durations_(stage_, instruction);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    busy_ += seconds;
  }
  void expect(Stream stream, float value) {
    const std::span<const float> values(stream.data, std::size_t(stream.size()));
    got_what_was_sent_ &= !values.empty() && std::ranges::count(values, value) == stream.size();
  }
  /// Where the result of the instruction stays until its backward.
  Stream take(const Instruction& instruction) {
    std::vector<float> memory;
    if (!free_.empty()) {
      memory = std::move(free_.back());
      free_.pop_back();
    }
    memory.resize(std::size_t(kStream[0] * kStream[1]));
    std::vector<float>& kept = results_[{instruction.micro_batch, instruction.chunk}] = std::move(memory);
    return {kept.data(), kStream};
  }

  PipelineShape shape_;
  std::int64_t stage_;
  UnitDurations durations_;
  std::map<Key, std::vector<float>> results_;
  std::vector<std::vector<float>> free_;
  double busy_ = 0;
  bool got_what_was_sent_ = true;
};

struct Measured {
  double idle_share = 1, seconds = 0;
};

/// One step on all ranks, which share a clock.
Measured run(Cluster& cluster, const PipelineSchedule& schedule) {
  const auto exchange =
      make_mpi_exchange(cluster, Mesh(cluster.size(), cluster.rank(), {.pipeline = kStages}));
  SlowStage work(schedule.shape, cluster.rank());
  Arena<Space::host> buffers("messages");
  cluster.barrier("before the step");
  const double begin = now();
  run_stage<float, Space::host>(schedule, work, {.exchange = *exchange, .buffers = buffers, .queue = {}});
  const double end = now();
  REQUIRE(work.got_what_was_sent());
  const double busy = cluster.all_reduce("busy", work.busy(), Reduction::sum);
  const double last = cluster.all_reduce("end", end, Reduction::max);
  const double first = -cluster.all_reduce("begin", -begin, Reduction::max);
  const double seconds = last - first;
  return {1 - busy / (double(kStages) * seconds), seconds};
}

struct Case {
  const char* name;
  ScheduleKind kind;
  std::int64_t chunks;
};

struct Shares {
  double simulated = 0, measured = 1, seconds = 0;
};

Shares shares_of(Cluster& cluster, const Case& one) {
  const PipelineShape shape{kStages, one.chunks, kMicroBatches};
  const PipelineSchedule schedule = make_schedule(one.kind, shape);
  const Timeline timeline = simulate(schedule, UnitDurations{kUnit, kUnit, kUnit, one.chunks});
  Shares shares{.simulated = timeline.bubble_share()};
  for (int i = 0; i < kRuns && shares.measured > 1.05 * shares.simulated; ++i) {
    const Measured measured = run(cluster, schedule);
    if (measured.idle_share < shares.measured)
      shares = {shares.simulated, measured.idle_share, measured.seconds};
  }
  if (cluster.rank() == 0) {
    WARN(fmt::format("{}: idle simulated {:.1f} %, measured {:.1f} %; a step {:.2f} s, {:.2f} s", one.name,
                     100 * shares.simulated, 100 * shares.measured, timeline.end, shares.seconds));
  }
  return shares;
}

}  // namespace

TEST_CASE("stages of a pipeline wait as long as the simulator says", "[parallel][pipeline]") {
  Cluster cluster{cluster::Environment()};
  if (cluster.size() != kStages) return;
  const Shares plain = shares_of(cluster, {"1F1B", ScheduleKind::one_f_one_b, 1});
  const Shares chunks = shares_of(cluster, {"interleaved, 2 chunks", ScheduleKind::interleaved, 2});
  const Shares split = shares_of(cluster, {"zero-bubble", ScheduleKind::zero_bubble, 1});
  for (const Shares& shares : {plain, chunks, split})
    CHECK(shares.measured == test::Approx(shares.simulated).epsilon(0.1));
  CHECK(split.simulated < plain.simulated);
  CHECK(split.measured < plain.measured);
  CHECK(split.seconds < plain.seconds);
}

}  // namespace moebius::parallel

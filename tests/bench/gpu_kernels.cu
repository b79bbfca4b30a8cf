// TFLOP/s of the products of a Qwen3-30B-A3B layer at 16,384 tokens (131,072 assignments to 128 experts): one
// JSON line a case. torch_grouped_mm.py times
// PyTorch on the same problems.
//
//   gpu_kernels            everything
//   gpu_kernels grouped    or "dense": the cases whose name contains the word
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "kernels/dense/gemm.h"
#include "kernels/device/lanes.cuh"
#include "kernels/moe/device/grouped_launch.cuh"
#include "kernels/moe/grouped_gemm.h"
#include "tensor/arena.h"

using namespace moebius;
using namespace moebius::kernels;

namespace {

constexpr std::int64_t kRows = 131072, kGroups = 128;
constexpr int kCalls = 5;  // of a run, without a gap
constexpr double kWarmUp = 0.2,
                 kMeasured = 0.3;  // seconds: the clock falls until the power is what it may be
using Call = std::function<void(Queue<Space::device>)>;

/// Bits of counter-based noise as numbers in [-1, 1).
template <class T>
__global__ void fill_random(T* values, std::int64_t count, std::uint64_t seed) {
  const std::int64_t stride = std::int64_t(gridDim.x) * blockDim.x;
  for (std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    std::uint64_t z = (std::uint64_t(i) + 1) * 0x9e3779b97f4a7c15u + seed * 0xd1b54a32d192ed03u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    values[i] = from_float<T>(float(std::uint32_t((z ^ (z >> 31)) >> 40)) * (2.0f / 16777216.0f) - 1.0f);
  }
}

class Bench {
 public:
  explicit Bench(std::string only) : only_(std::move(only)) {
    check(cudaEventCreate(&start_));
    check(cudaEventCreate(&stop_));
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  [[nodiscard]] Queue<Space::device> queue() { return gpu_.queue(); }
  [[nodiscard]] Arena<Space::device>& memory() { return memory_; }
  template <class T, std::size_t Rank>
  [[nodiscard]] View<T, int(Rank), Space::device> random(std::array<std::int64_t, Rank> shape) {
    const auto view = memory_.make<T>(shape);
    fill_random<<<1024, 256, 0, queue().stream>>>(view.data, view.size(), ++seed_);
    check(cudaGetLastError());
    return view;
  }
  /// The median of the runs in kMeasured seconds; `macs` multiply-adds.
  void time(const std::string& name, double macs, const Call& call) {
    if (name.find(only_) == std::string::npos) return;
    std::vector<double> times;
    for (double spent = 0; spent < kWarmUp + kMeasured;) {
      const double time = seconds(call);
      spent += time;
      if (spent > kWarmUp) times.push_back(time / kCalls);
    }
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    std::printf("{\"name\":\"%s\",\"ms\":%.4f,\"tflops\":%.1f,\"fastest_ms\":%.4f,\"device\":\"%s\"}\n",
                name.c_str(), 1e3 * median, 2e-12 * macs / median, 1e3 * times[0], gpu_.name().c_str());
    std::fflush(stdout);
  }

 private:
  [[nodiscard]] double seconds(const Call& call) {
    check(cudaEventRecord(start_, queue().stream));
    for (int i = 0; i < kCalls; ++i) call(queue());
    check(cudaEventRecord(stop_, queue().stream));
    check(cudaEventSynchronize(stop_));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start_, stop_));
    return 1e-3 * double(milliseconds);
  }

  std::string only_;
  Device gpu_{0};
  Arena<Space::device> memory_{"measuring"};
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  std::uint64_t seed_ = 0;
};

/// Sizes that fall as rank^-0.8, groups shuffled, the last ten of them empty: up to 15,376 rows.
std::vector<std::int64_t> skewed_sizes() {
  constexpr std::int64_t kEmpty = 10;
  std::vector<std::int64_t> group(kGroups), sizes(kGroups, 0);
  for (std::int64_t i = 0; i < kGroups; ++i) group[std::size_t(i)] = i;
  std::uint32_t state = 12345;
  for (std::uint32_t i = kGroups - 1; i > 0; --i) {
    state = state * 1664525u + 1013904223u;
    std::swap(group[i], group[(state >> 8) % (i + 1)]);
  }
  double sum = 0;
  for (int i = 0; i < kGroups - kEmpty; ++i) sum += std::pow(i + 1.0, -0.8);
  std::int64_t left = kRows;
  for (int i = 0; i < kGroups - kEmpty; ++i) {
    auto& size = sizes[std::size_t(group[std::size_t(i)])];
    size = std::int64_t(double(kRows) * std::pow(i + 1.0, -0.8) / sum);
    left -= size;
  }
  sizes[std::size_t(group[0])] += left;
  return sizes;
}

View<const std::int32_t, 1, Space::device> starts_of(Bench& bench, const std::vector<std::int64_t>& sizes) {
  std::vector<std::int32_t> starts{0};
  for (const std::int64_t size : sizes) starts.push_back(starts.back() + std::int32_t(size));
  const auto view = bench.memory().make<std::int32_t>(std::int64_t(starts.size()));
  check(cudaMemcpy(view.data, starts.data(), starts.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice));
  return view;
}

struct Experts {
  std::int64_t out, in;
  std::string groups;  // "even", "skewed"
  View<const std::int32_t, 1, Space::device> starts;
  View<bf16, 2, Space::device> x, y, dy, dx;
  View<bf16, 3, Space::device> w;

  [[nodiscard]] double macs() const { return double(kRows) * double(out) * double(in); }
  [[nodiscard]] std::string name(const std::string& what) const {
    std::string text = "grouped ";
    text.append(what).append(" ").append(std::to_string(out)).append("x").append(std::to_string(in));
    return text.append(" ").append(groups);
  }
};

void time_rows(Bench& bench, const Experts& e) {
  bench.time(e.name("forward"), e.macs(), [&](auto queue) {
    launch(GroupedGemmForward<bf16, Space::device>{.x = e.x, .w = e.w, .starts = e.starts, .y = e.y}, queue);
  });
  bench.time(e.name("input gradient"), e.macs(), [&](auto queue) {
    launch(
        GroupedGemmInputGradient<bf16, Space::device>{.dy = e.dy, .w = e.w, .starts = e.starts, .dx = e.dx},
        queue);
  });
}

template <class G>
void time_weights(Bench& bench, const Experts& e) {
  const ArenaScope<Space::device> scope(bench.memory());
  const GroupedGemmWeightGradient<bf16, Space::device, G> op{
      .dy = e.dy, .x = e.x, .starts = e.starts, .dw = bench.random<G>(std::array{kGroups, e.out, e.in})};
  const std::string type = sizeof(G) == 4 ? "fp32" : "bf16";
  bench.time(e.name("weight gradient " + type + " stored"), e.macs(),
             [&](auto queue) { launch<Into::overwrite>(op, queue); });
  bench.time(e.name("weight gradient " + type + " added"), e.macs(),
             [&](auto queue) { launch<Into::add>(op, queue); });
}

void time_experts(Bench& bench, std::int64_t out, std::int64_t in) {
  for (const std::string groups : {"even", "skewed"}) {
    const ArenaScope<Space::device> scope(bench.memory());
    const std::vector<std::int64_t> even(kGroups, kRows / kGroups);
    const Experts experts{.out = out,
                          .in = in,
                          .groups = groups,
                          .starts = starts_of(bench, groups == "even" ? even : skewed_sizes()),
                          .x = bench.random<bf16>(std::array{kRows, in}),
                          .y = bench.memory().make<bf16>(kRows, out),
                          .dy = bench.random<bf16>(std::array{kRows, out}),
                          .dx = bench.memory().make<bf16>(kRows, in),
                          .w = bench.random<bf16>(std::array{kGroups, out, in})};
    time_rows(bench, experts);
    time_weights<bf16>(bench, experts);
    time_weights<float>(bench, experts);
  }
}

/// A linear layer: forward, input gradient, weight gradient added in fp32.
void time_linear(Bench& bench, const std::string& name, std::array<std::int64_t, 3> extents) {
  const auto [rows, out, in] = extents;
  const ArenaScope<Space::device> scope(bench.memory());
  const auto x = bench.random<bf16>(std::array{rows, in}), y = bench.random<bf16>(std::array{rows, out});
  const auto dx = bench.memory().make<bf16>(rows, in), w = bench.random<bf16>(std::array{out, in});
  const auto dw = bench.random<float>(std::array{out, in});
  const double macs = double(rows) * double(out) * double(in);
  const std::string size = " " + std::to_string(rows) + "x" + std::to_string(out) + "x" + std::to_string(in);
  bench.time("dense " + name + " input gradient" + size, macs,
             [&](auto queue) { gemm<bf16, bf16>({.a = y, .b = w, .c = dx}, queue); });
  bench.time("dense " + name + " weight gradient fp32 added" + size, macs, [&](auto queue) {
    gemm<bf16, float>({.a = y, .b = x, .c = dw, .transpose_a = Transpose::yes, .beta = 1}, queue);
  });
  bench.time("dense " + name + " forward" + size, macs, [&](auto queue) {
    gemm<bf16, bf16>({.a = x, .b = w, .c = y, .transpose_b = Transpose::yes}, queue);
  });
}

}  // namespace

int main(int argc, char** argv) {
  Bench bench(argc > 1 ? argv[1] : "");
  time_experts(bench, 1536, 2048);
  time_experts(bench, 2048, 768);
  time_linear(bench, "qkv", {16384, 5120, 2048});
  time_linear(bench, "o", {16384, 2048, 4096});
  time_linear(bench, "lm head", {4096, 151936, 2048});
  return 0;
}

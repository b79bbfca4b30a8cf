#include <limits>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
#include "kernels/device/lanes.cuh"
#include "kernels/moe/router.h"

namespace moebius::kernels {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kTokensPerWarp = 4, kBlockTokens = kWarps * kTokensPerWarp;
constexpr std::int64_t kMostExperts = 1024;  // 32 a lane
constexpr std::int64_t kMostChoices = 32;    // one a lane

// A warp has a token: its lane l holds the numbers of experts l, l + 32, l + 64, ..., PerLane of them (past
// the last expert: zeros), and of the choices number l.

/// What each block of tokens adds to the statistics, added up in the order of the blocks.
struct Partials {
  float* sums = nullptr;           // [blocks, experts + 1]; of each expert's probability, then of the squares
  std::int32_t* counts = nullptr;  // [blocks, experts]
  std::int64_t blocks = 0;
};

/// Softmax of one token's logits, on the lanes; returns their logsumexp.
template <int PerLane>
__device__ __forceinline__ float softmax(const float* logits, int experts, int lane, float (&p)[PerLane]) {
  float highest = -std::numeric_limits<float>::infinity(), sum = 0;
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    p[j] = j * 32 + lane < experts ? logits[j * 32 + lane] : -std::numeric_limits<float>::infinity();
  }
#pragma unroll
  for (int j = 0; j < PerLane; ++j) highest = fmaxf(highest, p[j]);
  highest = warp_max(highest);
#pragma unroll
  for (int j = 0; j < PerLane; ++j) sum += p[j] = expf(p[j] - highest);
  sum = warp_sum(sum);
#pragma unroll
  for (int j = 0; j < PerLane; ++j) p[j] /= sum;
  return highest + logf(sum);
}

/// Lane c gets the expert of choice c, lanes from top_k on -1. Probabilities are not negative, so the order
/// of their bits as integers is theirs. NaN come last, so that ids stay in range whatever happens.
template <int PerLane>
__device__ __forceinline__ int choose_largest(const float (&p)[PerLane], int experts, int top_k, int lane) {
  constexpr int kNaN = -1, kTaken = std::numeric_limits<int>::min();
  int keys[PerLane], chosen = -1;
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    const int key = p[j] >= 0 ? __float_as_int(p[j]) : kNaN;
    keys[j] = j * 32 + lane < experts ? key : kTaken;
  }
  for (int c = 0; c < top_k; ++c) {
    int best = keys[0];
#pragma unroll
    for (int j = 1; j < PerLane; ++j) best = max(best, keys[j]);
    const int highest = __reduce_max_sync(kAllLanes, best);
    int lowest_id = std::numeric_limits<int>::max();
#pragma unroll
    for (int j = PerLane - 1; j >= 0; --j) lowest_id = keys[j] == highest ? j * 32 + lane : lowest_id;
    const int id = __reduce_min_sync(kAllLanes, lowest_id);
#pragma unroll
    for (int j = 0; j < PerLane; ++j) keys[j] = id == j * 32 + lane ? kTaken : keys[j];
    chosen = lane == c ? id : chosen;
  }
  return chosen;
}

/// Each lane gets the number of expert `id` (its own), 0 where that is -1.
template <int PerLane>
__device__ __forceinline__ float number_of(int id, const float (&numbers)[PerLane]) {
  float number = 0;
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    const float candidate = __shfl_sync(kAllLanes, numbers[j], id & 31);
    number = id >> 5 == j ? candidate : number;
  }
  return number;
}

/// One token; returns logsumexp^2. `sums` and `counts` [experts] take up a valid one.
template <int PerLane>
__device__ __forceinline__ float forward_token(const RouterForward<Space::device>& op, std::int64_t t,
                                               float (&sums)[PerLane], std::int32_t* counts) {
  const int lane = int(threadIdx.x % 32), experts = int(op.logits.shape[1]), top_k = int(op.ids.shape[1]);
  float p[PerLane];
  const float log_sum_exp = softmax(op.logits.data + t * experts, experts, lane, p);
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    if (j * 32 + lane < experts) op.probabilities(t, j * 32 + lane) = p[j];
  }
  if (lane == 0) op.log_sum_exp(t) = log_sum_exp;
  int id = -1;
  float weight = 0;
  const bool is_valid = t < op.valid_tokens;
  if (is_valid) {
    if (op.routing == Routing::learned) {
      id = choose_largest(p, experts, top_k, lane);
    } else if (lane < top_k) {
      id = int((std::int64_t(op.positions(t)) * top_k + lane) % experts);
    }
    weight = number_of(id, p);
    if (op.weight_sum == WeightSum::sum_to_one) weight /= warp_sum(weight);
    if (lane < top_k) atomicAdd(&counts[id], 1);
#pragma unroll
    for (int j = 0; j < PerLane; ++j) sums[j] += p[j];
  }
  if (lane < top_k) op.ids(t, lane) = id, op.weights(t, lane) = weight;
  return is_valid ? log_sum_exp * log_sum_exp : 0.0f;
}

template <int PerLane>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(RouterForward<Space::device> op, Partials partials) {
  extern __shared__ float shared[];
  const int experts = int(op.logits.shape[1]), warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  float* warp_sums = shared;                                                        // [kWarps, experts + 1]
  auto* counts = reinterpret_cast<std::int32_t*>(shared + kWarps * (experts + 1));  // [experts]
  for (int e = int(threadIdx.x); e < experts; e += kThreads) counts[e] = 0;
  __syncthreads();

  float sums[PerLane] = {}, squares = 0;
  for (int i = 0; i < kTokensPerWarp; ++i) {
    const std::int64_t t = std::int64_t(blockIdx.x) * kBlockTokens + i * kWarps + warp;
    if (t < op.logits.shape[0]) squares += forward_token(op, t, sums, counts);
  }
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    if (j * 32 + lane < experts) warp_sums[warp * (experts + 1) + j * 32 + lane] = sums[j];
  }
  if (lane == 0) warp_sums[warp * (experts + 1) + experts] = squares;
  __syncthreads();

  for (int e = int(threadIdx.x); e <= experts; e += kThreads) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += warp_sums[w * (experts + 1) + e];
    partials.sums[std::int64_t(blockIdx.x) * (experts + 1) + e] = sum;
    if (e < experts) partials.counts[std::int64_t(blockIdx.x) * experts + e] = counts[e];
  }
}

/// 32 columns a block, each added up by 32 threads.
__global__ void __launch_bounds__(1024) totals_kernel(RouterForward<Space::device> op, Partials partials) {
  __shared__ float sums[32][33];
  __shared__ std::int32_t counts[32][33];
  const std::int64_t experts = op.logits.shape[1], e = std::int64_t(blockIdx.x) * 32 + threadIdx.x;
  float sum = 0;
  std::int32_t count = 0;
#pragma unroll 4
  for (std::int64_t block = threadIdx.y; block < partials.blocks; block += 32) {
    if (e <= experts) sum += partials.sums[block * (experts + 1) + e];
    if (e < experts) count += partials.counts[block * experts + e];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  counts[threadIdx.y][threadIdx.x] = count;
  __syncthreads();
  if (threadIdx.y > 0 || e > experts) return;
  for (int i = 1; i < 32; ++i) {
    sum += sums[i][threadIdx.x];
    count += counts[i][threadIdx.x];
  }
  if (e == experts) {
    op.square_sum(0) = sum;
  } else {
    op.probability_sums(e) = sum;
    op.counts(e) = count;
  }
}

/// One valid token's dlogits, see backward_token of the host twin.
template <int PerLane, class T>
__device__ __forceinline__ void backward_token(const RouterBackward<T, Space::device>& op, std::int64_t t) {
  const int lane = int(threadIdx.x % 32), top_k = int(op.ids.shape[1]);
  const int experts = int(op.probabilities.shape[1]);
  float p[PerLane], dp[PerLane];
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    const int e = j * 32 + lane;
    p[j] = e < experts ? op.probabilities(t, e) : 0.0f;
    dp[j] = e < experts && !op.aux_gradient.empty() ? op.aux_gradient(e) : 0.0f;
  }
  const int id = lane < top_k ? op.ids(t, lane) : -1;
  float dchosen = lane < top_k ? op.dweights(t, lane) : 0.0f;
  if (op.weight_sum == WeightSum::sum_to_one) {
    const float chosen = number_of(id, p), sum = warp_sum(chosen);
    dchosen = (dchosen - warp_sum(dchosen * chosen) / sum) / sum;
  }
  for (int c = 0; c < top_k; ++c) {
    const int target = __shfl_sync(kAllLanes, id, c);
    const float addend = __shfl_sync(kAllLanes, dchosen, c);
#pragma unroll
    for (int j = 0; j < PerLane; ++j) dp[j] += target == j * 32 + lane ? addend : 0.0f;
  }
  float projection = 0;
#pragma unroll
  for (int j = 0; j < PerLane; ++j) projection += p[j] * dp[j];
  const float shift = 2 * op.z_coefficient * op.log_sum_exp(t) - warp_sum(projection);
#pragma unroll
  for (int j = 0; j < PerLane; ++j) {
    if (j * 32 + lane < experts) op.dlogits(t, j * 32 + lane) = from_float<T>(p[j] * (dp[j] + shift));
  }
}

template <int PerLane, class T>
__global__ void __launch_bounds__(kThreads) backward_kernel(RouterBackward<T, Space::device> op) {
  const std::int64_t t = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (t >= op.probabilities.shape[0]) return;
  if (t < op.valid_tokens) return backward_token<PerLane>(op, t);
  for (std::int64_t e = threadIdx.x % 32; e < op.dlogits.shape[1]; e += 32)
    op.dlogits(t, e) = from_float<T>(0);
}

void expect_room(std::int64_t experts, std::int64_t top_k) {
  if (experts <= kMostExperts && top_k <= kMostChoices) return;
  throw ShapeError("router: top_k " + std::to_string(top_k) + " of " + std::to_string(experts) +
                   " experts; on a device at most " + std::to_string(kMostChoices) + " of " +
                   std::to_string(kMostExperts));
}

template <int Count>
using Constant = std::integral_constant<int, Count>;

/// launch(Constant<experts a lane holds>)
template <class Launch>
void with_experts_per_lane(std::int64_t experts, const Launch& launch) {
  if (experts <= 64) return launch(Constant<2>());
  if (experts <= 128) return launch(Constant<4>());
  if (experts <= 256) return launch(Constant<8>());
  if (experts <= 512) return launch(Constant<16>());
  launch(Constant<32>());
}

}  // namespace

void router_forward(const RouterForward<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [tokens, experts] = op.logits.shape;
  expect_room(experts, op.ids.shape[1]);
  const std::int64_t blocks = divide_up(tokens, kBlockTokens), sums = blocks * (experts + 1);
  auto* scratch = static_cast<float*>(queue.device->scratch((sums + blocks * experts) * 4));
  const Partials partials{
      .sums = scratch, .counts = reinterpret_cast<std::int32_t*>(scratch + sums), .blocks = blocks};
  if (blocks > 0) {
    const std::size_t shared_bytes = std::size_t(kWarps * (experts + 1) + experts) * 4;
    with_experts_per_lane(experts, [&](auto per_lane) {
      forward_kernel<decltype(per_lane)::value>
          <<<unsigned(blocks), kThreads, shared_bytes, queue.stream>>>(op, partials);
    });
  }
  totals_kernel<<<unsigned(divide_up(experts + 1, 32)), dim3(32, 32), 0, queue.stream>>>(op, partials);
  check(cudaGetLastError());
}

template <class T>
void router_backward(const RouterBackward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [tokens, experts] = op.probabilities.shape;
  expect_room(experts, op.ids.shape[1]);
  if (op.dlogits.empty()) return;
  const unsigned blocks = unsigned(divide_up(tokens, kWarps));
  with_experts_per_lane(experts, [&](auto per_lane) {
    backward_kernel<decltype(per_lane)::value><<<blocks, kThreads, 0, queue.stream>>>(op);
  });
  check(cudaGetLastError());
}

template void router_backward(const RouterBackward<float, Space::device>&, Queue<Space::device>);
template void router_backward(const RouterBackward<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels

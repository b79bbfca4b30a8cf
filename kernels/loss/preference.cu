#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"
#include "kernels/loss/preference.h"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;  // a block a sequence

/// Each thread every kThreads-th target in order, then a tree over the threads.
__global__ void __launch_bounds__(kThreads) differences_kernel(const SequenceDifferences<Space::device> op) {
  const std::int64_t end = op.target_starts(blockIdx.x + 1);
  double sum = 0;
  for (std::int64_t t = op.target_starts(blockIdx.x) + threadIdx.x; t < end; t += kThreads)
    sum += double(op.log_probabilities(t)) - double(op.reference(t));
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) op.differences(blockIdx.x) = float(sum);
}

__global__ void __launch_bounds__(kThreads) weights_kernel(const PreferenceWeights<Space::device> op) {
  const std::int64_t sequence = blockIdx.x, chosen = sequence / 2 * 2;
  const double difference = double(op.differences(chosen)) - double(op.differences(chosen + 1));
  const double sigmoid = 1 / (1 + exp(-op.loss.beta * difference));
  const double slope = op.pair_share * preference_slope(op.loss, difference, sigmoid);
  const float weight = float(sequence == chosen ? op.chosen_share - slope : slope);
  const std::int64_t end = op.target_starts(sequence + 1);
  for (std::int64_t t = op.target_starts(sequence) + threadIdx.x; t < end; t += kThreads)
    op.weights(t) = weight;
}

}  // namespace

void sequence_differences(const SequenceDifferences<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t sequences = op.differences.size();
  if (sequences == 0) return;
  differences_kernel<<<unsigned(sequences), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void preference_weights(const PreferenceWeights<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t sequences = op.differences.size();
  if (sequences == 0) return;
  weights_kernel<<<unsigned(sequences), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels

#pragma once
#include <functional>
#include <variant>
#include <vector>

#include "kernels/dense/gemm.h"
#include "kernels/moe/grouped_gemm.h"
#include "tensor/arena.h"
#include "tensor/phase_clock.h"
#include "tensor/platform.h"

namespace moebius::layers {

/// Products that give gradients of weights and wait for their turn, in the order in which backward left them:
/// a pipeline stage computes them while it has nothing better to do. Their inputs lie in `memory`, or among
/// the activations that forward kept, and stay as they are until then.
template <Platform P>
class WeightProducts {
 public:
  static constexpr Space kSpace = P::kSpace;
  using Dense = kernels::Gemm<typename P::Storage, kSpace, typename P::Gradient>;
  using Grouped = kernels::GroupedGemmWeightGradient<typename P::Storage, kSpace, typename P::Gradient>;
  using Product = std::variant<Dense, Grouped>;

  explicit WeightProducts(Arena<kSpace>& memory) : memory_(memory), scope_(memory) {}

  [[nodiscard]] Arena<kSpace>& memory() { return memory_; }
  void add(const Product& product, Queue<kSpace> queue) {
    waiting_.push_back({product, queue.clock == nullptr ? Part::data : queue.clock->phase().part, {}});
  }
  /// Calls `work` when all products before it are queued.
  void then(const std::function<void()>& work) {
    if (waiting_.empty()) return work();
    waiting_.back().then = work;
  }
  /// Queues them all, each as what it is a part of.
  void run(Queue<kSpace> queue) {
    for (const Waiting& one : waiting_) {
      mark(one.part, Pass::backward, queue);
      compute(one.product, queue);
      if (one.then) one.then();
    }
    waiting_.clear();
  }
  /// Whether there is somewhere to put the result.
  [[nodiscard]] static bool is_wanted(const Product& product) {
    const auto* dense = std::get_if<Dense>(&product);
    return dense != nullptr ? dense->c.data != nullptr : std::get<Grouped>(product).dw.data != nullptr;
  }
  static void compute(const Product& product, Queue<kSpace> queue) {
    if (const auto* dense = std::get_if<Dense>(&product)) {
      kernels::gemm(*dense, queue);
    } else {
      kernels::grouped_gemm_weight_gradient(std::get<Grouped>(product), queue);
    }
  }

 private:
  Arena<kSpace>& memory_;
  ArenaScope<kSpace> scope_;
  struct Waiting {
    Product product;
    Part part;
    std::function<void()> then;
  };
  std::vector<Waiting> waiting_;
};

}  // namespace moebius::layers

#pragma once
#include <vector>

#include "models/memory.h"
#include "models/memory_adapter.h"

namespace moebius::models {

/// What a mixture of experts allocates on this rank (layers/moe.h), in the order of the code.
class ExpertMemory {
 public:
  struct Tokens {
    std::int64_t here, valid;  // of this rank between blocks, with padding and without
  };
  ExpertMemory(const ModelConfig& config, const Mesh& mesh, const Tokens& tokens,
               const MicroBatchShape& shape, const MemoryFormat& format);

  // Of Saved, what stays and what can be remade.
  [[nodiscard]] std::int64_t kept(const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t remade(const LayerAdapter& has) const;
  // Of the workspace.
  [[nodiscard]] std::int64_t forward(const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t remaking(const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t backward(const LayerAdapter& has) const;
  /// Inputs of the products that give gradients of weights, besides those that forward kept.
  [[nodiscard]] std::int64_t products(const LayerAdapter& has) const;

 private:
  /// layers::DistributedExperts::Batch.
  struct Batch {
    std::int64_t tokens = 0;       // of this rank
    std::int64_t sent = 0;         // rows that leave, one for each rank that has experts of a token
    std::int64_t received = 0;     // of each rank of expert_tensor
    std::int64_t tokens_here = 0;  // of all of them
    std::int64_t rows = 0;         // of this rank's experts
  };

  [[nodiscard]] Batch batch_of(std::int64_t tokens, const MicroBatchShape& shape) const;
  template <class Bytes>
  [[nodiscard]] std::int64_t total(const Bytes& bytes) const {
    std::int64_t sum = 0;
    for (const Batch& batch : batches_) sum += bytes(batch);
    return sum;
  }
  [[nodiscard]] bool all_here() const { return expert_ * expert_tensor_ == 1; }
  [[nodiscard]] std::int64_t row() const { return config_.hidden * rooms_.storage; }
  [[nodiscard]] std::int64_t rows(const Batch& batch) const {
    return rooms_.stored(batch.rows * config_.hidden);
  }
  [[nodiscard]] std::int64_t leaving(const Batch& batch, std::int64_t bytes) const;
  [[nodiscard]] std::int64_t returning(const Batch& batch, std::int64_t bytes) const;
  [[nodiscard]] std::int64_t dispatching(const Batch& batch) const;
  [[nodiscard]] std::int64_t combining(const Batch& batch) const;
  [[nodiscard]] std::int64_t products_backward(const Batch& batch, const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t backward_of_batches(const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t activating(const Batch& batch, const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t adding_out(const Batch& batch, const LayerAdapter& has) const;
  [[nodiscard]] std::int64_t gate_up_products(const Batch& batch, const LayerAdapter& has) const;

  const ModelConfig& config_;
  Rooms rooms_;
  AdapterRooms adapter_;
  std::int64_t expert_, expert_tensor_, here_, width_;
  std::vector<Batch> batches_;  // none: the model has no experts
};

}  // namespace moebius::models

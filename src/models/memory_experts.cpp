#include "models/memory_experts.h"

#include <cmath>
#include <set>

namespace moebius::models {
namespace {

/// On how many of `ranks`, each with as many experts, a token's experts lie, in the mean. Learned: as if
/// every choice of different experts were as likely.
double ranks_of_a_token(const ModelConfig& config, std::int64_t ranks, kernels::Routing routing) {
  const std::int64_t experts = config.experts, local = experts / ranks;
  if (routing == kernels::Routing::learned) {
    double none = 1;  // the chance that a rank has none of them
    for (std::int64_t c = 0; c < config.top_k; ++c)
      none *= double(std::max<std::int64_t>(experts - local - c, 0)) / double(experts - c);
    return double(ranks) * (1 - none);
  }
  std::int64_t pairs = 0;
  for (std::int64_t t = 0; t < experts; ++t) {
    std::set<std::int64_t> of_token;
    for (std::int64_t c = 0; c < config.top_k; ++c) of_token.insert((t * config.top_k + c) % experts / local);
    pairs += std::int64_t(of_token.size());
  }
  return double(pairs) / double(experts);
}

std::int64_t whole(double count) {
  return std::int64_t(std::ceil(count));
}

}  // namespace

ExpertMemory::ExpertMemory(const ModelConfig& config, const Mesh& mesh, const Tokens& tokens,
                           const MicroBatchShape& shape, const MemoryFormat& format)
    : config_(config),
      rooms_{format.space, format.storage},
      adapter_(adapter_rooms(rooms_, format.adapter)),
      expert_(mesh.degree(Axis::expert)),
      expert_tensor_(mesh.degree(Axis::expert_tensor)),
      here_(tokens.here),
      width_(config.expert_width / expert_tensor_) {
  if (config.experts == 0) return;
  const bool in_halves = format.overlap == layers::Overlap::halves && expert_ > 1;
  const std::int64_t first = in_halves ? divide_up(tokens.valid, std::int64_t{2}) : tokens.valid;
  batches_.push_back(batch_of(first, shape));
  if (in_halves) batches_.push_back(batch_of(tokens.valid - first, shape));
  batches_.back().tokens += tokens.here - tokens.valid;
  if (all_here()) batches_.back().tokens_here = tokens.here;
}

ExpertMemory::Batch ExpertMemory::batch_of(std::int64_t tokens, const MicroBatchShape& shape) const {
  Batch batch{.tokens = tokens, .sent = tokens, .received = tokens};
  const double load = expert_ == 1 ? 1 : shape.expert_load;
  if (expert_ > 1) {
    const double pairs = double(tokens) * ranks_of_a_token(config_, expert_, shape.routing);
    batch.sent = whole(pairs);
    batch.received = std::min(whole(pairs * load), tokens * expert_);
  }
  batch.tokens_here = batch.received * expert_tensor_;
  batch.rows = whole(double(tokens * config_.top_k * expert_tensor_) * load);
  return batch;
}

std::int64_t ExpertMemory::kept(const LayerAdapter& has) const {
  const std::int64_t top_k = config_.top_k;
  const std::int64_t router =
      rooms_.floats(here_ * config_.experts) + rooms_.floats(here_) + rooms_.ints(here_ * top_k);
  return router + adapter_.projected(has.router, here_) + total([&](const Batch& batch) {
           std::int64_t dispatch = all_here() ? 0 : rooms_.ints(batch.tokens * top_k);
           if (adapter_.drops && !all_here())
             dispatch += rooms_.ints(batch.tokens_here * top_k) + rooms_.ints(2 * batch.tokens_here);
           const std::int64_t plan = rooms_.ints(config_.experts / expert_ + 1) +
                                     rooms_.ints(batch.tokens_here * top_k) + rooms_.ints(batch.rows);
           return dispatch + rooms_.floats(batch.tokens_here * top_k) + plan +
                  adapter_.projected(has.down, batch.rows);
         });
}

std::int64_t ExpertMemory::remade(const LayerAdapter& has) const {
  return total([&](const Batch& batch) {
    return has.inputs_of_mlp() * adapter_.projected(true, batch.rows) + rows(batch) +
           rooms_.stored(batch.rows * 2 * width_) + rooms_.stored(batch.rows * width_);
  });
}

std::int64_t ExpertMemory::products(const LayerAdapter& has) const {
  return total([&](const Batch& batch) {
    return rows(batch) + rooms_.stored(batch.rows * 2 * width_) +
           adapter_.products(has.down, batch.rows, width_) + gate_up_products(batch, has);
  });
}

/// Of the adapters of gate and up, which have the columns of their gradients side by side.
std::int64_t ExpertMemory::gate_up_products(const Batch& batch, const LayerAdapter& has) const {
  return has.inputs_of_mlp() *
         (rooms_.stored(batch.rows * width_) + adapter_.products(true, batch.rows, config_.hidden));
}

/// What the adapters of gate and up take in forward, one after the other.
std::int64_t ExpertMemory::activating(const Batch& batch, const LayerAdapter& has) const {
  if (has.inputs_of_mlp() == 0) return 0;
  return rooms_.stored(batch.rows * width_) + adapter_.left(true, batch.rows, config_.hidden);
}

/// The same of that of down.
std::int64_t ExpertMemory::adding_out(const Batch& batch, const LayerAdapter& has) const {
  return has.down ? rows(batch) + adapter_.left(true, batch.rows, width_) : 0;
}

/// What dispatch_rows needs for rows of so many bytes.
std::int64_t ExpertMemory::leaving(const Batch& batch, std::int64_t bytes) const {
  return expert_ == 1 ? 0 : rooms_.room(batch.sent, bytes);
}

/// The same of combine_rows.
std::int64_t ExpertMemory::returning(const Batch& batch, std::int64_t bytes) const {
  return (expert_tensor_ == 1 ? 0 : rooms_.room(batch.received, bytes)) + leaving(batch, bytes);
}

/// Tokens to rows.
std::int64_t ExpertMemory::dispatching(const Batch& batch) const {
  return all_here() ? 0 : rooms_.room(batch.tokens_here, row()) + leaving(batch, row());
}

/// Rows to tokens.
std::int64_t ExpertMemory::combining(const Batch& batch) const {
  return all_here() ? 0 : rooms_.room(batch.tokens_here, row()) + returning(batch, row());
}

std::int64_t ExpertMemory::products_backward(const Batch& batch, const LayerAdapter& has) const {
  const std::int64_t in = gate_up_products(batch, has) + (has.inputs_of_mlp() > 0 ? rows(batch) : 0);
  return rooms_.stored(batch.rows * width_) + rooms_.stored(batch.rows * 2 * width_) +
         adapter_.products(has.down, batch.rows, width_) +
         std::max(has.down ? rooms_.stored(batch.rows * width_) : 0, in);
}

std::int64_t ExpertMemory::remaking(const LayerAdapter& has) const {
  std::int64_t most = 0;
  for (const Batch& batch : batches_) most = std::max(most, activating(batch, has));
  const std::int64_t arriving = total([&](const Batch& batch) { return dispatching(batch); });
  return batches_.size() > 1 ? arriving + most : std::max(arriving, most);
}

std::int64_t ExpertMemory::forward(const LayerAdapter& has) const {
  const std::int64_t top_k = config_.top_k, count = std::int64_t(batches_.size());
  const std::int64_t routed = (all_here() ? 0 : rooms_.floats(here_ * top_k)) +
                              rooms_.ints(config_.experts * count) +
                              rooms_.floats((count - 1) * (2 * config_.experts + 1));
  std::int64_t planning = adapter_.left(has.router, here_, config_.hidden);
  for (const Batch& batch : batches_) {
    if (all_here()) break;
    const std::int64_t ids = adapter_.drops ? 0 : rooms_.ints(batch.tokens_here * top_k);
    planning = std::max(planning, ids + leaving(batch, std::max<std::int64_t>(top_k, 2) * 4));
  }
  const std::int64_t back = total(
      [&](const Batch& batch) { return rows(batch) + std::max(combining(batch), adding_out(batch, has)); });
  // What brings the tokens stays while several batches are under way.
  return routed + std::max(planning, count > 1 ? remaking(has) + back : std::max(remaking(has), back));
}

std::int64_t ExpertMemory::backward(const LayerAdapter& has) const {
  const std::int64_t top_k = config_.top_k, dweights = rooms_.floats(here_ * top_k);
  const std::int64_t router = rooms_.floats(config_.experts) + rooms_.stored(here_ * config_.experts) +
                              adapter_.products(has.router, here_, config_.hidden) +
                              adapter_.left(has.router, here_, config_.hidden);
  if (batches_.size() > 1) return dweights + std::max(backward_of_batches(has), router);
  const Batch& all = batches_.front();
  if (all_here()) return dweights + std::max(rows(all) + products_backward(all, has), router);
  const std::int64_t most =
      std::max({dispatching(all), products_backward(all, has), combining(all), returning(all, top_k * 4)});
  return dweights + std::max(rows(all) + rooms_.floats(all.tokens_here * top_k) + most, router);
}

std::int64_t ExpertMemory::backward_of_batches(const LayerAdapter& has) const {
  std::int64_t used = total([&](const Batch&batch) { return dispatching(batch); }), most = used;
  for (const Batch& batch : batches_) {
    used += rows(batch) + rooms_.floats(batch.tokens_here * config_.top_k);
    most = std::max(most, used + products_backward(batch, has));
    used += combining(batch) + returning(batch, config_.top_k * 4);
  }
  return std::max(most, used);
}

}  // namespace moebius::models

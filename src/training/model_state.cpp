#include "training/model_state.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace moebius::training {
namespace {

template <Space S>
models::Shards<float, S> zeroed(models::Shards<float, S> shards) {
  std::fill_n(shards.flat().data, shards.flat().size(), 0.0f);
  return shards;
}

kernels::Routing routing_of(job::Routing routing) {
  return routing == job::Routing::even ? kernels::Routing::even : kernels::Routing::learned;
}

optimizer::AdamSettings adam_settings(const job::Optimizer& settings) {
  return {.beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .epsilon = settings.epsilon,
          .weight_decay = settings.weight_decay,
          .clip_norm = settings.clip_norm};
}

}  // namespace

template <Platform P>
ModelState<P>::ModelState(const job::Job& job, const models::ModelConfig& config,
                          std::unique_ptr<parallel::Exchange<kSpace>> given_exchange)
    : exchange(std::move(given_exchange)),
      table(models::parameter_table(config)),
      layout(table, exchange->mesh()),
      weights(layout, weight_memory),
      gradients(zeroed(models::Shards<float, kSpace>(layout, gradient_memory))),
      adam(layout, adam_settings(job.optimizer), *exchange, optimizer_memory),
      decoder(config,
              {.weights = weights, .exchange = *exchange, .activations = activations, .workspace = workspace},
              {.longest = job.data.max_length, .routing = routing_of(job.moe.routing)}) {}

template <Platform P>
std::string memory_text(const ModelState<P>& state) {
  std::string text;
  for (const auto* arena : {&state.weight_memory, &state.gradient_memory, &state.optimizer_memory,
                            &state.activations, &state.workspace}) {
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : ", ", arena->purpose(), bytes_text(arena->peak_bytes()));
  }
  return text;
}

template struct ModelState<HostFp32>;
template std::string memory_text(const ModelState<HostFp32>&);

}  // namespace moebius::training

#include "training/model_state.h"

#include <fmt/format.h>
#include <utility>
#include <vector>

#include "base/process.h"
#include "base/text.h"
#include "kernels/device/device.h"
#include "kernels/update/elementwise.h"
#include "plan/rules.h"

namespace moebius::training {
namespace {

template <class G, Space S>
models::Shards<G, S> zeroed(models::Shards<G, S> shards, Queue<S> queue) {
  kernels::fill(shards.flat(), G(0.0f), queue);
  return shards;
}

template <Space S>
Queue<S> timed_by(PhaseClock<S>& clock, Queue<S> queue) {
  queue.clock = &clock;
  return queue;
}

template <Platform P>
std::unique_ptr<FrozenModel<P>> frozen_model(const job::Job& job, const models::ModelConfig& config,
                                             const cluster::Mesh& mesh, Arena<P::kSpace>& memory) {
  return std::make_unique<FrozenModel<P>>(
      models::ShardLayout(models::parameter_table(config), mesh, plan::stages_of(job, config)), memory);
}

optimizer::AdamSettings adam_settings(const job::Optimizer& settings) {
  return {.beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .epsilon = settings.epsilon,
          .weight_decay = settings.weight_decay,
          .clip_norm = settings.clip_norm,
          .moments = settings.moments == job::StateType::bf16 ? Dtype::bfloat16 : Dtype::float32};
}

}  // namespace

template <Platform P>
ModelState<P>::ModelState(const job::Job& job, const models::ModelConfig& config,
                          std::unique_ptr<parallel::Exchange<kSpace>> given_exchange,
                          Queue<kSpace> given_queue)
    : exchange(std::move(given_exchange)),
      queue(timed_by(clock, given_queue)),
      table(plan::trained_table(job, config)),
      stages(plan::stages_of(job, config)),
      schedule(plan::schedule_of(job, exchange->mesh())),
      layout(table, exchange->mesh(), stages),
      ownership(layout, exchange->mesh()),
      activations("activations", plan::load_of(schedule, exchange->mesh()).in_flight),
      pending("inputs of pending products", plan::load_of(schedule, exchange->mesh()).pending),
      frozen(job.lora ? frozen_model<P>(job, config, exchange->mesh(), weight_memory) : nullptr),
      reference(plan::keeps_reference(job) ? frozen_model<P>(job, config, exchange->mesh(), reference_memory)
                                           : nullptr),
      weights(models::make_weight_state<typename P::Storage, kSpace>(
          ownership, plan::truth_of(job.optimizer.master), weight_memory, optimizer_memory, queue)),
      gradients(zeroed(models::Shards<typename P::Gradient, kSpace>(layout, gradient_memory), queue)),
      adam(ownership, adam_settings(job.optimizer), *exchange, optimizer_memory, queue),
      decoder(config,
              {.weights = frozen ? frozen->weights : weights.weights,
               .exchange = *exchange,
               .activations = activations.first(),
               .remade = remade,
               .workspace = workspace,
               .staging = staging,
               .queue = queue,
               .before_reading = [this](std::string_view names) { adam.wait_for_weights(names, queue); },
               .adapter = frozen ? &weights.weights : nullptr},
              decoder_options<P>(job, stages)) {}

template <Platform P>
typename models::Decoder<P>::Options decoder_options(const job::Job& job, const models::Stages& stages) {
  return {.longest = job.data.max_length,
          .routing = plan::routing_of(job.moe.routing),
          .overlap = plan::overlap_of(job.moe.overlap),
          .recompute = plan::recompute_of(job.train.recompute),
          .group_layers = job.train.recompute_layers,
          .stages = stages,
          .adapter_scale = job.lora ? plan::adapter_of(job)->scale() : 1,
          .adapter_dropout = job.lora ? job.lora->dropout : 0,
          .dropout_seed = std::uint64_t(job.general.seed)};
}

template <Platform P>
void ModelState<P>::reserve(const models::ModelMemory& planned) {
  activations.reserve(planned.slot());
  pending.reserve(planned.pending_slot);
  if (planned.messages > 0) messages.reserve(planned.messages);
  if (planned.remade > 0) remade.reserve(planned.remade);
  workspace.reserve(planned.workspace);
}

/// The arenas by purpose, with their peaks.
template <Platform P>
static std::vector<std::pair<std::string, std::int64_t>> peaks_of(const ModelState<P>& state) {
  const auto peak = [](const auto& memory) { return std::pair(memory.purpose(), memory.peak_bytes()); };
  return {peak(state.weight_memory),    peak(state.gradient_memory), peak(state.optimizer_memory),
          peak(state.reference_memory), peak(state.activations),     peak(state.pending),
          peak(state.messages),         peak(state.remade),          peak(state.workspace)};
}

template <Platform P>
std::int64_t peak_bytes(const ModelState<P>& state) {
  if constexpr (P::kSpace == Space::host) {
    return peak_resident_bytes();
  } else {
    std::int64_t bytes = state.queue.device->scratch_bytes();
    for (const auto& [purpose, peak] : peaks_of(state)) bytes += peak;
    return bytes;
  }
}

template <Platform P>
std::string memory_text(const ModelState<P>& state) {
  std::string text;
  for (const auto& [purpose, peak] : peaks_of(state))
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", purpose, bytes_text(peak));
  return text;
}

#define INSTANTIATE(P)                                                                                      \
  template typename models::Decoder<P>::Options decoder_options<P>(const job::Job&, const models::Stages&); \
  template struct ModelState<P>;                                                                            \
  template std::int64_t peak_bytes(const ModelState<P>&);                                                   \
  template std::string memory_text(const ModelState<P>&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training

#include "objectives/sft.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>

#include "kernels/update/elementwise.h"
#include "objectives/host_batch.h"
#include "parallel/pipeline/run.h"

namespace moebius::objectives {

using parallel::Instruction;

/// What training and evaluation have in common: micro batches in slots, and what is known of them.
template <Platform P>
class Sft<P>::Stage : public parallel::StageWork<typename P::Storage, P::kSpace> {
 public:
  using T = typename P::Storage;
  using Decoder = models::Decoder<P>;
  using Stream = View<T, 2, kSpace>;

  Stage(Sft& sft, Batches batches) : decoder_(sft.decoder_), memory_(sft.memory_), batches_(batches) {
    for (const data::MicroBatch& batch : batches) {
      hosts_.push_back(host_batch<kSpace>(batch, decoder_.exchange().mesh()));
      results.push_back({.scale = {}, .log_probabilities = {}, .routers = {}, .real_tokens = 0});
      results.back().real_tokens = hosts_.back().real_tokens().of_micro_batch;
    }
  }

  [[nodiscard]] std::array<std::int64_t, 2> shape_of(std::int64_t micro_batch) const override {
    const std::int64_t tensor = decoder_.exchange().mesh().degree(parallel::Axis::tensor);
    return {hosts_[std::size_t(micro_batch)].tokens() / tensor, decoder_.config().hidden};
  }

  Results results;

 protected:
  /// A micro batch in work.
  struct InWork {
    InWork(ArenaSlots<kSpace>& all, Arena<kSpace>& slot, std::int64_t chunk)
        : slots(all), memory(slot), saved(std::make_unique<typename Decoder::Saved>(slot, chunk)) {}
    InWork(const InWork&) = delete;
    InWork& operator=(const InWork&) = delete;
    ~InWork() {
      saved.reset();
      slots.give_back(memory);
    }

    ArenaSlots<kSpace>& slots;
    Arena<kSpace>& memory;
    std::unique_ptr<typename Decoder::Saved> saved;
    models::TokenBatch<kSpace> tokens;
    Stream dhidden;  // on the last virtual stage
  };

  [[nodiscard]] std::unique_ptr<InWork> begin(const Instruction& instruction) {
    mark(Part::data, Pass::forward, decoder_.queue());
    auto work = std::make_unique<InWork>(memory_.slots, memory_.slots.take(), instruction.chunk);
    work->tokens =
        host(instruction).template placed<kSpace>(work->memory, decoder_.staging(), decoder_.queue());
    return work;
  }
  [[nodiscard]] const models::HostBatch& host(const Instruction& instruction) const {
    return hosts_[std::size_t(instruction.micro_batch)];
  }
  [[nodiscard]] const data::MicroBatch& batch(const Instruction& instruction) const {
    return batches_[std::size_t(instruction.micro_batch)];
  }
  [[nodiscard]] QueuedResult& result(const Instruction& instruction) {
    return results[std::size_t(instruction.micro_batch)];
  }
  [[nodiscard]] View<const float, 1, Space::host> to_host(View<const float, 1, kSpace> values) {
    const View<float, 1, Space::host> staged = decoder_.staging().template make<float>(values.size());
    download<float, kSpace>(values, staged, decoder_.queue());
    return staged;
  }

  Decoder& decoder_;
  Memory memory_;

 private:
  Batches batches_;
  std::vector<models::HostBatch> hosts_;  // [micro batches]
};

template <Platform P>
class Sft<P>::TrainingStage final : public Stage {
 public:
  using typename Stage::Decoder, typename Stage::InWork, typename Stage::Stream;

  TrainingStage(Sft& sft, const Training& training)
      : Stage(sft, training.batches),
        share_(training.share),
        gradients_(training.gradients),
        done_(training.done),
        enter_(training.enter),
        last_micro_batch_(std::int64_t(training.batches.size()) - 1) {}

  [[nodiscard]] Stream forward(const Instruction& instruction, Stream input) override {
    if (enter_) enter_("forward");
    auto begun = this->begin(instruction);
    InWork& work = *begun;
    in_work_.emplace(key_of(instruction), std::move(begun));
    const Stream out = this->decoder_.forward(work.tokens, Decoder::Keep::for_backward, *work.saved, input);
    this->result(instruction)
        .routers.push_back({instruction.chunk, this->decoder_.router_statistics(*work.saved)});
    if (this->decoder_.is_last(instruction.chunk)) loss(instruction, out, work);
    return out;
  }

  void backward(const Instruction& instruction, Stream gradient) override {
    if (enter_) enter_("backward");
    const auto found = in_work_.find(key_of(instruction));
    InWork& work = *found->second;
    Stream dstream = gradient;
    if (this->decoder_.is_last(instruction.chunk)) {
      if (gradient.data != nullptr)
        kernels::copy<typename P::Storage>(work.dhidden.flat(), gradient.flat(), this->decoder_.queue());
      else
        dstream = work.dhidden;
    }
    models::WeightGradients<P> gradients = gradients_of(instruction);
    const bool is_split = instruction.work == parallel::Work::backward_input;
    if (is_split)
      gradients.later =
          &pending_.try_emplace(key_of(instruction), this->memory_.pending).first->second.products;
    this->decoder_.backward({.dhidden = dstream, .coefficients = share_.coefficients}, work.tokens,
                            *work.saved, gradients);
    if (!is_split) in_work_.erase(found);
  }

  void backward_weight(const Instruction& instruction) override {
    const auto found = pending_.find(key_of(instruction));
    found->second.products.run(this->decoder_.queue());
    pending_.erase(found);
    in_work_.erase(key_of(instruction));
  }

 private:
  using Key = std::pair<std::int64_t, std::int64_t>;  // micro batch, chunk
  /// The products of one micro batch that wait for their turn.
  struct Products {
    explicit Products(ArenaSlots<kSpace>& all) : slots(all), memory(all.take()), products(memory) {}
    Products(const Products&) = delete;
    Products& operator=(const Products&) = delete;
    ~Products() { slots.give_back(memory); }

    ArenaSlots<kSpace>& slots;
    Arena<kSpace>& memory;
    layers::WeightProducts<P> products;
  };
  [[nodiscard]] static Key key_of(const Instruction& instruction) {
    return {instruction.micro_batch, instruction.chunk};
  }
  /// The first micro batch writes the gradients of a chunk, and the last completes them, in every schedule.
  [[nodiscard]] models::WeightGradients<P> gradients_of(const Instruction& instruction) const {
    const bool is_first = instruction.micro_batch == 0,
               is_last = instruction.micro_batch == last_micro_batch_;
    return {.shards = gradients_,
            .into = is_first ? kernels::Into::overwrite : kernels::Into::add,
            .done = is_last ? done_ : nullptr};
  }

  void loss(const Instruction& instruction, Stream hidden, InWork& work) {
    QueuedResult& result = this->result(instruction);
    result.scale = this->host(instruction).of_targets(this->batch(instruction).loss_scale);
    std::vector<float> weights(result.scale.size());
    const double divisor = double(std::max<std::int64_t>(share_.trained_tokens, 1));
    std::ranges::transform(result.scale, weights.begin(), [&](float one) { return float(one / divisor); });
    const auto log_probabilities = work.memory.template make<float>(this->host(instruction).target_count());
    work.dhidden = work.memory.template make<typename P::Storage>(hidden.shape);
    this->decoder_.loss(hidden, work.tokens,
                        {.weights = moebius::placed<float>(weights, work.memory, this->decoder_.staging(),
                                                           this->decoder_.queue()),
                         .log_probabilities = log_probabilities,
                         .dhidden = work.dhidden},
                        gradients_of(instruction));
    result.log_probabilities = this->to_host(log_probabilities);
  }

  Share share_;
  const models::Shards<typename P::Gradient, kSpace>& gradients_;
  std::function<void(std::string_view)> done_, enter_;
  std::int64_t last_micro_batch_;
  std::map<Key, std::unique_ptr<InWork>> in_work_;
  std::map<Key, Products> pending_;
};

template <Platform P>
class Sft<P>::ForwardStage final : public Stage {
 public:
  using Stage::Stage;
  using typename Stage::Decoder, typename Stage::InWork, typename Stage::Stream;

  /// The results of forward stay as long as there are slots for others.
  [[nodiscard]] Stream forward(const Instruction& instruction, Stream input) override {
    if (std::int64_t(in_work_.size()) == this->memory_.slots.count()) in_work_.pop_front();
    InWork& work = *in_work_.emplace_back(this->begin(instruction));
    const Stream out = this->decoder_.forward(work.tokens, Decoder::Keep::nothing, *work.saved, input);
    if (!this->decoder_.is_last(instruction.chunk)) return out;
    const auto log_probabilities = work.memory.template make<float>(this->host(instruction).target_count());
    this->decoder_.log_probabilities(out, work.tokens, log_probabilities);
    QueuedResult& result = this->result(instruction);
    result.scale = this->host(instruction).of_targets(this->batch(instruction).loss_scale);
    result.log_probabilities = this->to_host(log_probabilities);
    return out;
  }
  void backward(const Instruction&, Stream) override { throw std::logic_error("evaluation goes forward"); }
  void backward_weight(const Instruction&) override { throw std::logic_error("evaluation goes forward"); }

 private:
  std::deque<std::unique_ptr<InWork>> in_work_;
};

template <Platform P>
auto Sft<P>::train(const Training& training) -> Results {
  TrainingStage stage(*this, training);
  parallel::run_stage<typename P::Storage, kSpace>(
      training.schedule, stage,
      {.exchange = decoder_.exchange(), .buffers = memory_.messages, .queue = decoder_.queue()});
  return std::move(stage.results);
}

template <Platform P>
auto Sft<P>::evaluate(Batches batches) -> Results {
  ForwardStage stage(*this, batches);
  const parallel::PipelineSchedule schedule =
      parallel::forward_schedule({.stages = decoder_.exchange().mesh().degree(parallel::Axis::pipeline),
                                  .chunks = decoder_.chunks(),
                                  .micro_batches = std::int64_t(batches.size())});
  parallel::run_stage<typename P::Storage, kSpace>(schedule, stage,
                                                   {.exchange = decoder_.exchange(),
                                                    .buffers = memory_.messages,
                                                    .queue = decoder_.queue(),
                                                    .results_kept = memory_.slots.count()});
  return std::move(stage.results);
}

template <Platform P>
MicroResult Sft<P>::result(const QueuedResult& queued) const {
  MicroResult result{.loss_sum = 0, .routers = decoder_.no_router_totals()};
  // The loss in double, in the order of the targets.
  for (std::size_t i = 0; i < queued.scale.size(); ++i) {
    result.loss_sum -= double(queued.scale[i]) * double(queued.log_probabilities(std::int64_t(i)));
  }
  for (const auto& [chunk, statistics] : queued.routers)
    decoder_.add_router_totals(statistics, chunk, queued.real_tokens, result.routers);
  return result;
}

#define INSTANTIATE(P) template class Sft<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::objectives

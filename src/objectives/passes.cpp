#include "objectives/passes.h"

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
class Passes<P>::Stage : public parallel::StageWork<typename P::Storage, P::kSpace> {
 public:
  using T = typename P::Storage;
  using Decoder = models::Decoder<P>;
  using Stream = View<T, 2, kSpace>;

  Stage(Passes& passes, Batches batches) : decoder_(passes.decoder_), memory_(passes.memory_) {
    for (const data::MicroBatch& batch : batches) {
      hosts_.push_back(host_batch<kSpace>(batch, decoder_.exchange().mesh()));
      results.push_back(
          {.predictions = {}, .routers = {}, .real_tokens = hosts_.back().real_tokens().of_micro_batch});
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
  [[nodiscard]] QueuedResult& result(const Instruction& instruction) {
    return results[std::size_t(instruction.micro_batch)];
  }
  void keep_predictions(const Instruction& instruction, View<const float, 1, kSpace> log_probabilities) {
    const View<float, 1, Space::host> staged =
        decoder_.staging().template make<float>(log_probabilities.size());
    download<float, kSpace>(log_probabilities, staged, decoder_.queue());
    result(instruction).predictions = {host(instruction).target_tokens(), staged};
  }

  Decoder& decoder_;
  Memory memory_;

 private:
  std::vector<models::HostBatch> hosts_;  // [micro batches]
};

template <Platform P>
class Passes<P>::TrainingStage final : public Stage {
 public:
  using typename Stage::Decoder, typename Stage::InWork, typename Stage::Stream;

  TrainingStage(Passes& passes, const Training& training)
      : Stage(passes, training.batches),
        objective_(training.objective),
        coefficients_(training.coefficients),
        gradients_(training.gradients),
        done_(training.done),
        enter_(training.enter),
        last_micro_batch_(std::int64_t(training.batches.size()) - 1) {
    for (const data::MicroBatch& batch : training.batches) numbers_.push_back(batch.number);
  }

  [[nodiscard]] Stream forward(const Instruction& instruction, Stream input) override {
    if (enter_) enter_("forward");
    auto begun = this->begin(instruction);
    InWork& work = *begun;
    in_work_.emplace(key_of(instruction), std::move(begun));
    if (this->decoder_.has_dropout()) number_tokens(instruction, work);
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
    this->decoder_.backward({.dhidden = dstream, .coefficients = coefficients_}, work.tokens, *work.saved,
                            gradients);
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

  void number_tokens(const Instruction& instruction, InWork& work) const {
    const std::vector<std::int32_t> numbers =
        this->host(instruction).numbers(numbers_[std::size_t(instruction.micro_batch)]);
    const auto placed =
        moebius::placed<std::int32_t>(numbers, work.memory, this->decoder_.staging(), this->decoder_.queue());
    work.tokens.numbers = {placed.data, {this->host(instruction).tokens(), 2}};
  }

  void loss(const Instruction& instruction, Stream hidden, InWork& work) {
    const models::HostBatch& host = this->host(instruction);
    const auto weights = objective_.weights({.micro_batch = instruction.micro_batch,
                                             .decoder = this->decoder_,
                                             .host = host,
                                             .tokens = work.tokens,
                                             .hidden = hidden,
                                             .memory = work.memory});
    const auto log_probabilities = work.memory.template make<float>(host.target_count());
    work.dhidden = work.memory.template make<typename P::Storage>(hidden.shape);
    this->decoder_.loss(hidden, work.tokens,
                        {.weights = weights, .log_probabilities = log_probabilities, .dhidden = work.dhidden},
                        gradients_of(instruction));
    this->keep_predictions(instruction, log_probabilities);
  }

  Objective<P>& objective_;
  layers::AuxCoefficients coefficients_;
  const models::Shards<typename P::Gradient, kSpace>& gradients_;
  std::function<void(std::string_view)> done_, enter_;
  std::int64_t last_micro_batch_;
  std::vector<std::int64_t> numbers_;  // [micro batches]; in the training
  std::map<Key, std::unique_ptr<InWork>> in_work_;
  std::map<Key, Products> pending_;
};

template <Platform P>
class Passes<P>::ForwardStage final : public Stage {
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
    this->keep_predictions(instruction, log_probabilities);
    return out;
  }
  void backward(const Instruction&, Stream) override { throw std::logic_error("evaluation goes forward"); }
  void backward_weight(const Instruction&) override { throw std::logic_error("evaluation goes forward"); }

 private:
  std::deque<std::unique_ptr<InWork>> in_work_;
};

template <Platform P>
auto Passes<P>::train(const Training& training) -> Results {
  TrainingStage stage(*this, training);
  parallel::run_stage<typename P::Storage, kSpace>(
      training.schedule, stage,
      {.exchange = decoder_.exchange(), .buffers = memory_.messages, .queue = decoder_.queue()});
  return std::move(stage.results);
}

template <Platform P>
auto Passes<P>::evaluate(Batches batches) -> Results {
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
models::RouterTotals Passes<P>::routers(const QueuedResult& queued) const {
  models::RouterTotals totals = decoder_.no_router_totals();
  for (const auto& [chunk, statistics] : queued.routers)
    decoder_.add_router_totals(statistics, chunk, queued.real_tokens, totals);
  return totals;
}

#define INSTANTIATE(P) template class Passes<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::objectives

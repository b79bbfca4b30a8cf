#include "plan/work.h"

#include <algorithm>

#include "models/memory_adapter.h"

namespace moebius::plan {
namespace {

using cluster::Axis;

/// A matrix product of a step and its two gradients: numbers of one layer on one rank.
struct Product {
  Part part;
  double macs = 0, inputs = 0, outputs = 0;  // of all micro batches
  double weights = 0;
  double copies = 1;  // layers
};

/// Lists operations while it knows how a step is spread over the ranks.
class Lister {
 public:
  explicit Lister(const StepQuestion& question)
      : config_(question.config),
        mesh_(question.mesh),
        stages_(question.stages),
        memory_(question.memory),
        load_(question.load),
        extra_(question.extra) {
    const double replicas = degree(Axis::data);
    parts_ = degree(Axis::tensor) * degree(Axis::context);
    tokens_ = load_.tokens / replicas / parts_;
    hidden_ = tokens_ * double(config_.hidden);
    micro_batches_ = load_.micro_batches / replicas;
    adapter_ = question.format.adapter;
    learns_ = !adapter_;
    storage_ = double(question.format.storage);
    gradient_ = double(question.format.gradient);
    moment_ = question.format.moment;
  }

  std::vector<Operation> list() {
    const auto [layers, moe_layers] = layers_here();
    embedding();
    norms(layers);
    attention(layers);
    if (moe_layers > 0) experts(moe_layers);
    if (layers > moe_layers) dense_mlp(layers - moe_layers);
    for (Operation& operation : operations_) {
      if (operation.pass != Pass::forward) continue;
      operation.flops *= 1 + extra_.forwards;
      operation.bytes *= 1 + extra_.forwards;
    }
    head();
    if (adapter_) adapters();
    optimizer();
    return std::move(operations_);
  }

 private:
  [[nodiscard]] double degree(Axis axis) const { return double(mesh_.degree(axis)); }
  [[nodiscard]] std::int64_t stage() const { return mesh_.index(Axis::pipeline); }
  /// Layers of this rank's stage, and those of them with experts.
  [[nodiscard]] std::pair<double, double> layers_here() const {
    std::pair<double, double> counts{0, 0};
    for (std::int64_t chunk = 0; chunk < stages_.chunks(); ++chunk) {
      const Range range = stages_.layers(stage(), chunk);
      for (std::int64_t layer = range.begin; layer < std::min(range.end, config_.layers); ++layer) {
        counts.first += 1;
        counts.second += config_.is_moe_layer[std::size_t(layer)] ? 1 : 0;
      }
    }
    return counts;
  }

  void add(Part part, Pass pass, double bytes, double flops = 0) {
    operations_.push_back({part, pass, flops, bytes});
  }
  /// Elements of activations that forward and backward move.
  void move(Part part, double forward, double backward) {
    add(part, Pass::forward, storage_ * forward);
    add(part, Pass::backward, storage_ * backward);
  }
  void multiply(const Product& p, Pass forward = Pass::forward, Pass backward = Pass::backward) {
    const double flops = 2 * p.macs * p.copies, activations = storage_ * (p.inputs + p.outputs) * p.copies;
    const double weights = micro_batches_ * p.weights * p.copies;
    add(p.part, forward, activations + storage_ * weights, flops);
    add(p.part, backward, activations + storage_ * weights, flops);                // gradient of the input
    if (learns_) add(p.part, backward, activations + gradient_ * weights, flops);  // gradient of the weights
  }

  void embedding() {
    if (!stages_.is_first(stage(), 0)) return;
    const double table = double(config_.vocab * config_.hidden) / degree(Axis::tensor);
    add(Part::embedding, Pass::forward, 2 * storage_ * hidden_);
    // The first micro batch writes the whole gradient, unless the head has done that.
    if (learns_)
      add(Part::embedding, Pass::backward,
          (storage_ + 2 * gradient_) * hidden_ + (config_.tied_embeddings ? 0 : gradient_ * table));
  }

  void norms(double layers) { move(Part::norms, (8 * layers + 2) * hidden_, (8 * layers + 3) * hidden_); }

  void attention(double layers) {
    const double q = double(config_.heads * config_.head_dim),
                 kv = double(config_.kv_heads * config_.head_dim);
    const double tensor = degree(Axis::tensor), hidden = double(config_.hidden);
    const double all_hidden = hidden_ * tensor;  // inside attention: all tokens of the tensor ranks
    multiply({Part::projections, hidden_ * (q + 2 * kv), all_hidden, tokens_ * (q + 2 * kv),
              hidden * (q + 2 * kv) / tensor, layers});
    multiply({Part::projections, hidden_ * q, tokens_ * q, all_hidden, hidden * q / tensor, layers});
    move(Part::attention, 2 * layers * tokens_ * (q + kv), 3 * layers * tokens_ * (q + kv));  // norm and turn
    const double forward = 2 * q * layers * load_.squares / degree(Axis::data) / parts_;      // half of S x S
    add(Part::attention, Pass::forward, storage_ * layers * tokens_ * 2 * (q + kv), forward);
    add(Part::attention, Pass::backward, storage_ * layers * tokens_ * 4 * (q + kv), 2 * forward);
  }

  void experts(double layers) {
    const double all = double(config_.experts), top_k = double(config_.top_k),
                 hidden = double(config_.hidden);
    multiply({Part::router, hidden_ * all, hidden_, tokens_ * all, hidden * all, layers});
    const double there_and_back = 2 * (1 + top_k) * hidden_ * layers;
    move(Part::router, there_and_back, there_and_back);

    const double expert_tensor = degree(Axis::expert_tensor), width = double(config_.expert_width);
    const double rows = tokens_ * top_k, all_rows = rows * hidden * expert_tensor;
    const double weights = all / degree(Axis::expert) * hidden * width / expert_tensor;
    multiply({Part::experts, rows * hidden * 2 * width, all_rows, rows * 2 * width, 2 * weights, layers});
    multiply({Part::experts, rows * hidden * width, rows * width, all_rows, weights, layers});
    move(Part::experts, 3 * rows * width * layers, 5 * rows * width * layers);  // SwiGLU
  }

  void dense_mlp(double layers) {
    const double tensor = degree(Axis::tensor), width = double(config_.dense_width);
    const double weights = double(config_.hidden) * width / tensor, all_hidden = hidden_ * tensor;
    multiply({Part::dense_mlp, hidden_ * 2 * width, all_hidden, tokens_ * 2 * width, 2 * weights, layers});
    multiply({Part::dense_mlp, hidden_ * width, tokens_ * width, all_hidden, weights, layers});
    move(Part::dense_mlp, 3 * tokens_ * width * layers, 5 * tokens_ * width * layers);
  }

  void head() {
    if (!stages_.is_last(stage(), stages_.chunks() - 1)) return;
    const double tensor = degree(Axis::tensor), vocab = double(config_.vocab),
                 hidden = double(config_.hidden);
    const double targets = load_.targets / degree(Axis::data) / parts_;
    multiply({Part::head, targets * hidden * vocab, targets * hidden * tensor, targets * vocab,
              hidden * vocab / tensor},
             Pass::forward, Pass::forward);
    // Cross entropy overwrites logits with their gradient; of a split vocabulary it reads them for the sums
    // before.
    add(Part::head, Pass::forward, storage_ * (tensor == 1 ? 2 : 3) * targets * vocab);
    add(Part::head, Pass::forward,
        extra_.heads * storage_ *
            (targets * (hidden * tensor + 2 * vocab) + micro_batches_ * hidden * vocab / tensor),
        extra_.heads * 2 * targets * hidden * vocab);
  }

  /// The factors of one weight: x a^T, (x a^T) b^T, and their gradients. A rank has all of a or all of b.
  struct Factors {
    Part part;
    bool has;
    double rows, inputs, outputs;  // of this rank
    double copies = 1;             // experts
  };
  void adapt(const Factors& of) {
    if (!of.has) return;
    const double rank = double(adapter_->rank);
    multiply({of.part, of.rows * rank * of.inputs, of.rows * of.inputs, of.rows * rank,
              rank * of.inputs * of.copies});
    multiply({of.part, of.rows * rank * of.outputs, of.rows * rank, of.rows * of.outputs,
              rank * of.outputs * of.copies});
  }
  void adapters() {
    learns_ = true;
    const double tensor = degree(Axis::tensor), hidden = double(config_.hidden), all = tokens_ * tensor;
    const double q = double(config_.heads * config_.head_dim) / tensor,
                 kv = double(config_.kv_heads * config_.head_dim) / tensor;
    const double width = double(config_.dense_width) / tensor, experts = double(config_.experts);
    const double parts = degree(Axis::expert_tensor), columns = double(config_.expert_width) / parts;
    const double rows = tokens_ * double(config_.top_k) * parts, here = experts / degree(Axis::expert);
    const std::vector<models::LayerAdapter> layers = models::layer_adapters(config_, adapter_);
    for (std::int64_t chunk = 0; chunk < stages_.chunks(); ++chunk) {
      const Range range = stages_.layers(stage(), chunk);
      for (std::int64_t n = range.begin; n < std::min(range.end, config_.layers); ++n) {
        const models::LayerAdapter& has = layers[std::size_t(n)];
        adapt({Part::projections, has.q, all, hidden, q});
        adapt({Part::projections, has.k, all, hidden, kv});
        adapt({Part::projections, has.v, all, hidden, kv});
        adapt({Part::projections, has.o, all, q, hidden});
        adapt({Part::router, has.router, tokens_, hidden, experts});
        const bool is_moe = config_.is_moe_layer[std::size_t(n)];
        const Factors gate = is_moe ? Factors{Part::experts, has.gate, rows, hidden, columns, here}
                                    : Factors{Part::dense_mlp, has.gate, all, hidden, width};
        adapt(gate);
        adapt({gate.part, has.up, gate.rows, hidden, gate.outputs, gate.copies});
        adapt({gate.part, has.down, gate.rows, gate.outputs, hidden, gate.copies});
      }
    }
  }

  /// Of the weights that this rank moves. Gradients are read for their norm and again for the step.
  void optimizer() {
    const double moved = double(memory_.moments) / double(2 * moment_);
    add(Part::optimizer, Pass::update,
        2 * moved * (storage_ + gradient_) + 2 * double(memory_.moments + memory_.truth));
  }

  const models::ModelConfig& config_;
  const cluster::Mesh& mesh_;
  const models::Stages& stages_;
  const models::ModelMemory& memory_;
  StepLoad load_;
  std::optional<models::AdapterSettings> adapter_;
  bool learns_ = true;  // what is multiplied with
  ExtraPasses extra_;
  double parts_ = 1;           // ranks that share a micro batch
  double tokens_ = 0;          // of this rank between blocks, in all micro batches
  double hidden_ = 0;          // elements of a hidden state of these
  double micro_batches_ = 1;   // of this rank
  double storage_, gradient_;  // bytes
  std::int64_t moment_;        // bytes
  std::vector<Operation> operations_;
};

}  // namespace

ExtraPasses extra_passes(const job::Job& job) {
  if (job.objective.kind != job::ObjectiveKind::dpo) return {};
  const double scored = job.objective.reference_cache ? 0 : 1;
  return {.forwards = scored, .heads = scored + 1};
}

std::vector<Operation> step_operations(const StepQuestion& question) {
  return Lister(question).list();
}

double flops_of(const std::vector<Operation>& operations) {
  double sum = 0;
  for (const Operation& operation : operations) sum += operation.flops;
  return sum;
}

PhaseTimes limits_of(const std::vector<Operation>& operations, const Peaks& peaks) {
  PhaseTimes limits;
  for (const Operation& operation : operations)
    limits.at(operation.part, operation.pass) +=
        std::max(operation.flops / peaks.flops, operation.bytes / peaks.bytes);
  return limits;
}

}  // namespace moebius::plan

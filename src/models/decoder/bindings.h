#pragma once
#include <string>
#include <type_traits>

#include "layers/layers.h"
#include "models/shards.h"

namespace moebius::models {

/// The views that layers want of this rank's shards, found by name. E: const T for weights, the type of
/// gradients for those. All are empty where there is no parameter of that name: the model has none, or it
/// does not learn.
template <class E, Space S>
class Bindings {
 public:
  using Source = Shards<std::remove_const_t<E>, S>;
  /// `adapter`: shards of an adapter's table beside those of the model's; null: none.
  explicit Bindings(const Source& shards, const Source* adapter = nullptr)
      : shards_(shards), adapter_(adapter) {}

  [[nodiscard]] View<E, 1, S> vector(const std::string& name) const { return stacked(name, {name}); }
  /// All dims but the last as one.
  [[nodiscard]] View<E, 2, S> matrix(const std::string& name) const { return as_matrix(vector(name), name); }

  [[nodiscard]] layers::AttentionParameters<E, S> attention(const std::string& layer) const {
    const std::string own = layer + "attention.";
    return {.qkv = as_matrix(stacked(own + "q", {own + "q", own + "k", own + "v"}), own + "q"),
            .qkv_bias = stacked(own + "q_bias", {own + "q_bias", own + "k_bias", own + "v_bias"}),
            .q_norm = vector(own + "q_norm"),
            .k_norm = vector(own + "k_norm"),
            .output = matrix(own + "o"),
            .output_bias = vector(own + "o_bias"),
            .adapter = {.q = factors(own + "q"),
                        .k = factors(own + "k"),
                        .v = factors(own + "v"),
                        .output = factors(own + "o")}};
  }
  [[nodiscard]] layers::DenseMlpParameters<E, S> dense_mlp(const std::string& layer) const {
    const std::string own = layer + "mlp.";
    return {.gate_up = matrix(own + "gate_up"),
            .down = matrix(own + "down"),
            .adapter = {.gate = factors(own + "gate_up.gate_proj"),
                        .up = factors(own + "gate_up.up_proj"),
                        .down = factors(own + "down")}};
  }
  [[nodiscard]] layers::MoeParameters<E, S> moe(const std::string& layer) const {
    const std::string own = layer + "experts.";
    return {.router = matrix(layer + "router"),
            .experts = {.gate_up = by_expert(own + "gate_up"),
                        .down = by_expert(own + "down"),
                        .adapter = {.gate = expert_factors(own + "gate_up.gate_proj"),
                                    .up = expert_factors(own + "gate_up.up_proj"),
                                    .down = expert_factors(own + "down")}},
            .router_adapter = factors(layer + "router")};
  }
  /// The output projection, which may be the embedding table.
  [[nodiscard]] View<E, 2, S> lm_head() const {
    return matrix(find("lm_head") != nullptr ? "lm_head" : "embedding");
  }

 private:
  /// Rows that lie one behind the other, from `first` on.
  [[nodiscard]] View<E, 1, S> stacked(const std::string& first, const std::vector<std::string>& names) const {
    const Source* shards = find(first);
    if (shards == nullptr) return {};
    const ShardLayout& layout = shards->layout();
    View<E, 1, S> all = (*shards)[layout.index_of(first)];
    all.shape[0] = 0;
    for (const std::string& name : names) all.shape[0] += layout.row(layout.index_of(name)).size;
    return all;
  }
  [[nodiscard]] View<E, 2, S> as_matrix(View<E, 1, S> all, const std::string& name) const {
    if (find(name) == nullptr) return {};
    const std::int64_t columns = local_shape(name).back();
    return {all.data, {columns == 0 ? 0 : all.shape[0] / columns, columns}};
  }
  [[nodiscard]] View<E, 3, S> by_expert(const std::string& name) const {
    if (find(name) == nullptr) return {};
    const std::vector<std::int64_t> shape = local_shape(name);
    const std::int64_t columns = shape.back(), experts = shape.front();
    const View<E, 1, S> all = vector(name);
    return {all.data, {experts, all.shape[0] / (experts * columns), columns}};
  }
  [[nodiscard]] layers::Factors<E, S> factors(const std::string& weight) const {
    return {.a = matrix(weight + ".a"), .b = matrix(weight + ".b")};
  }
  [[nodiscard]] layers::ExpertFactors<E, S> expert_factors(const std::string& weight) const {
    return {.a = by_expert(weight + ".a"), .b = by_expert(weight + ".b")};
  }
  [[nodiscard]] std::vector<std::int64_t> local_shape(const std::string& name) const {
    const ShardLayout& layout = find(name)->layout();
    std::vector<std::int64_t> shape;
    for (const Range& range : layout.row(layout.index_of(name)).slab.ranges) shape.push_back(range.size());
    return shape;
  }
  /// The shards that have the parameter, or null.
  [[nodiscard]] const Source* find(const std::string& name) const {
    if (shards_.layout().find(name)) return &shards_;
    return adapter_ != nullptr && adapter_->layout().find(name) ? adapter_ : nullptr;
  }

  const Source& shards_;
  const Source* adapter_;
};

}  // namespace moebius::models

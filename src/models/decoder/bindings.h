#pragma once
#include <string>
#include <type_traits>

#include "layers/layers.h"
#include "models/shards.h"

namespace moebius::models {

/// The views that layers want of this rank's shards, found by name. E: const T for weights, the type of
/// gradients for those.
template <class E, Space S>
class Bindings {
 public:
  explicit Bindings(const Shards<std::remove_const_t<E>, S>& shards) : shards_(shards) {}

  /// Empty where the model has no parameter of that name.
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
            .output_bias = vector(own + "o_bias")};
  }
  [[nodiscard]] layers::DenseMlpParameters<E, S> dense_mlp(const std::string& layer) const {
    return {.gate_up = matrix(layer + "mlp.gate_up"), .down = matrix(layer + "mlp.down")};
  }
  [[nodiscard]] layers::MoeParameters<E, S> moe(const std::string& layer) const {
    return {.router = matrix(layer + "router"),
            .experts = {.gate_up = by_expert(layer + "experts.gate_up"),
                        .down = by_expert(layer + "experts.down")}};
  }
  /// The output projection, which may be the embedding table.
  [[nodiscard]] View<E, 2, S> lm_head() const {
    return matrix(shards_.layout().find("lm_head") ? "lm_head" : "embedding");
  }

 private:
  /// Rows that lie one behind the other, from `first` on.
  [[nodiscard]] View<E, 1, S> stacked(const std::string& first, const std::vector<std::string>& names) const {
    const auto index = shards_.layout().find(first);
    if (!index) return {};
    View<E, 1, S> all = shards_[*index];
    all.shape[0] = 0;
    for (const std::string& name : names) {
      all.shape[0] += shards_.layout().row(shards_.layout().index_of(name)).size;
    }
    return all;
  }
  [[nodiscard]] View<E, 2, S> as_matrix(View<E, 1, S> all, const std::string& name) const {
    const std::int64_t columns = local_shape(name).back();
    return {all.data, {columns == 0 ? 0 : all.shape[0] / columns, columns}};
  }
  [[nodiscard]] View<E, 3, S> by_expert(const std::string& name) const {
    const std::vector<std::int64_t> shape = local_shape(name);
    const std::int64_t columns = shape.back(), experts = shape.front();
    const View<E, 1, S> all = vector(name);
    return {all.data, {experts, all.shape[0] / (experts * columns), columns}};
  }
  [[nodiscard]] std::vector<std::int64_t> local_shape(const std::string& name) const {
    std::vector<std::int64_t> shape;
    for (const Range& range : shards_.layout().row(shards_.layout().index_of(name)).slab.ranges) {
      shape.push_back(range.size());
    }
    return shape;
  }

  const Shards<std::remove_const_t<E>, S>& shards_;
};

}  // namespace moebius::models

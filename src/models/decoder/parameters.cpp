#include "models/decoder/parameters.h"

#include <fmt/format.h>

namespace moebius::models {
namespace {

/// Appends the rows of one layer (or of what stands around the layers).
class Rows {
 public:
  Rows(const ModelConfig& config, ParameterTable& table) : config_(config), table_(table) {}

  /// Of the rows to come.
  void at(const Site& site) { site_ = site; }

  void matrix(std::string name, std::vector<std::string> hub, std::vector<std::int64_t> shape,
              std::vector<Split> splits) {
    table_.push_back({.name = std::move(name),
                      .hub = std::move(hub),
                      .shape = std::move(shape),
                      .splits = std::move(splits),
                      .init = {InitialValue::Kind::normal, config_.init_deviation},
                      .site = site_,
                      .role = Role::linear});
  }
  void norm(std::string name, std::string hub, std::int64_t size) {
    vector(std::move(name), std::move(hub), size, InitialValue::Kind::ones);
  }
  void bias(std::string name, std::string hub, std::int64_t size) {
    vector(std::move(name), std::move(hub), size, InitialValue::Kind::zeros);
  }
  Parameter& last() { return table_.back(); }
  void role(Role role) { last().role = role; }
  void behind_previous() { last().placement = Placement::behind_previous; }
  void split(Axis axis, int dim) { last().splits.push_back({axis, dim}); }

 private:
  void vector(std::string name, std::string hub, std::int64_t size, InitialValue::Kind kind) {
    table_.push_back({.name = std::move(name),
                      .hub = {std::move(hub)},
                      .shape = {size},
                      .init = {kind, 0},
                      .decay = Decay::no,
                      .site = site_});
  }

  const ModelConfig& config_;
  ParameterTable& table_;
  Site site_;
};

struct LayerNames {
  std::string own, hub;  // "layers.3.", "model.layers.3."
};

void append_attention(const ModelConfig& config, const HubNames& names, const LayerNames& layer, Rows& rows) {
  const std::string own = layer.own + "attention.";
  const std::string hub = fmt::format("{}{}.", layer.hub, names.attention);
  const std::int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  rows.norm(layer.own + "attention_norm", fmt::format("{}{}.weight", layer.hub, names.attention_norm),
            config.hidden);
  const std::vector<Split> by_head{{Axis::tensor, 0}};
  rows.matrix(own + "q", {hub + "q_proj.weight"}, {q, config.hidden}, by_head);
  rows.matrix(own + "k", {hub + "k_proj.weight"}, {kv, config.hidden}, by_head);
  rows.behind_previous();
  rows.matrix(own + "v", {hub + "v_proj.weight"}, {kv, config.hidden}, by_head);
  rows.behind_previous();
  if (config.qkv_bias) {
    rows.bias(own + "q_bias", hub + "q_proj.bias", q);
    rows.split(Axis::tensor, 0);
    rows.bias(own + "k_bias", hub + "k_proj.bias", kv);
    rows.split(Axis::tensor, 0);
    rows.behind_previous();
    rows.bias(own + "v_bias", hub + "v_proj.bias", kv);
    rows.split(Axis::tensor, 0);
    rows.behind_previous();
  }
  if (config.qk_norm) {
    rows.norm(own + "q_norm", hub + "q_norm.weight", config.head_dim);
    rows.norm(own + "k_norm", hub + "k_norm.weight", config.head_dim);
  }
  rows.matrix(own + "o", {hub + "o_proj.weight"}, {config.hidden, q}, {{Axis::tensor, 1}});
  if (config.output_bias) rows.bias(own + "o_bias", hub + "o_proj.bias", config.hidden);
}

void append_mlp(const ModelConfig& config, const std::string& own, const std::string& hub, Rows& rows) {
  rows.matrix(own + "gate_up", {hub + "gate_proj.weight", hub + "up_proj.weight"},
              {2, config.dense_width, config.hidden}, {{Axis::tensor, 1}});
  rows.matrix(own + "down", {hub + "down_proj.weight"}, {config.hidden, config.dense_width},
              {{Axis::tensor, 1}});
}

void append_experts(const ModelConfig& config, const LayerNames& layer, const std::string& hub, Rows& rows) {
  const std::vector<Split> splits{{Axis::expert, 0}, {Axis::expert_tensor, 2}};
  const std::string expert = hub + "experts.{expert}.";
  rows.matrix(layer.own + "router", {hub + "gate.weight"}, {config.experts, config.hidden}, {});
  rows.role(Role::router);
  rows.matrix(layer.own + "experts.gate_up", {expert + "gate_proj.weight", expert + "up_proj.weight"},
              {config.experts, 2, config.expert_width, config.hidden}, splits);
  rows.matrix(layer.own + "experts.down", {expert + "down_proj.weight"},
              {config.experts, config.hidden, config.expert_width}, splits);
}

}  // namespace

ParameterTable decoder_parameters(const ModelConfig& config, const HubNames& names) {
  ParameterTable table;
  Rows rows(config, table);
  rows.at({config.tied_embeddings ? Site::Kind::both_ends : Site::Kind::embedding});
  rows.matrix("embedding", {"model.embed_tokens.weight"}, {config.vocab, config.hidden}, {{Axis::tensor, 0}});
  rows.role(Role::vocabulary);
  for (std::int64_t n = 0; n < config.layers; ++n) {
    rows.at({Site::Kind::layer, n});
    const LayerNames layer{fmt::format("layers.{}.", n), fmt::format("model.layers.{}.", n)};
    const std::string hub = fmt::format("{}{}.", layer.hub, names.mlp);
    append_attention(config, names, layer, rows);
    rows.norm(layer.own + "mlp_norm", fmt::format("{}{}.weight", layer.hub, names.mlp_norm), config.hidden);
    if (config.is_moe_layer[std::size_t(n)]) {
      append_experts(config, layer, hub, rows);
    } else {
      append_mlp(config, layer.own + "mlp.", hub, rows);
    }
  }
  rows.at({Site::Kind::head});
  rows.norm("norm", "model.norm.weight", config.hidden);
  if (!config.tied_embeddings) {
    rows.matrix("lm_head", {"lm_head.weight"}, {config.vocab, config.hidden}, {{Axis::tensor, 0}});
    rows.role(Role::vocabulary);
  }
  return table;
}

}  // namespace moebius::models

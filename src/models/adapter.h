#pragma once
#include <optional>
#include <string>
#include <vector>

#include "models/parameter_table.h"

/// Adapters (LoRA): two small factors beside each of some linear layers of a model, which learn in its place.
/// What they compute is layers/low_rank.h; here they are rows of a parameter table like any other weights.
namespace moebius::models {

/// What an adapter is, in PEFT's words.
struct AdapterSettings {
  std::int64_t rank = 8;
  double alpha = 32;
  enum class Scaling : std::uint8_t {
    by_rank,         // alpha / rank
    by_root_of_rank  // alpha / sqrt(rank): rslora, Kalajdzievski 2023, arXiv:2312.03732
  } scaling = Scaling::by_rank;
  double dropout = 0;
  /// Which layers have one, by the names that their modules have in Hugging Face's model
  /// ("model.layers.3.self_attn.q_proj"): each entry is a whole name, the end of one behind a dot ("q_proj"),
  /// a pattern with * and ? of either, "all-linear" (all but the output projection and the routers) or
  /// "all-router".
  std::vector<std::string> targets = {"all-linear"};

  [[nodiscard]] double scale() const;
};

/// The factors of every chosen weight of `model`: rows "<weight>.a" [rank, in] and "<weight>.b" [out, rank],
/// of experts [experts, rank, in] and [experts, out, rank]; of a weight that is several modules in one,
/// "<weight>.<module>.a". Under PEFT's names, split as the weight is: a over its inputs, b over its outputs.
/// a starts with normal numbers of the deviation of PEFT's start values, b with zeros. The targets must have
/// no problems.
[[nodiscard]] ParameterTable adapter_table(const ParameterTable& model, const AdapterSettings& settings);

/// What the factors of a weight are called before ".a" and ".b": its name, or one for each module in it.
[[nodiscard]] std::vector<std::string> module_names(const Parameter& parameter);

/// What is wrong with the targets for this model, one text each: "'qproj' is no linear layer of the model
/// (...)". Empty: nothing.
[[nodiscard]] std::vector<std::string> target_problems(const ParameterTable& model,
                                                       const std::vector<std::string>& targets);

/// The chosen modules by the ends of their names where these choose the same, sorted: what
/// adapter_config.json lists as target_modules. Whole names otherwise.
[[nodiscard]] std::vector<std::string> target_modules(const ParameterTable& model,
                                                      const std::vector<std::string>& targets);

}  // namespace moebius::models

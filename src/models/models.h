#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "models/config_reader.h"
#include "models/parameter_table.h"

/// models: what a Hugging Face folder describes, as sizes, weights and a program.
///
///   config.h            the sizes of a model, read from config.json by config_reader.h
///   parameter_table.h   every weight once: name, Hugging Face names, shape, splits, start value, decay
///   adapter.h           factors beside its linear layers that learn in their place (LoRA): a table too
///   shards.h            this rank's part of all weights, in one buffer
///   decoder/            the decoder that all families share: config keys, table rows, forward, backward,
///                       decoding with a cache
///   batch.h             one micro batch as the decoder takes it
///   context_chunks.h    which tokens of a sample are whose on Axis::context
///   rope.h              rotary frequencies
///   memory.h            bytes by purpose, before anything is allocated
///   qwen3_moe/ qwen3/ qwen2/   one family each: what is peculiar to it
///
/// Adding a family: its folder, with a Family value, and one line in models.cpp.
namespace moebius::models {

/// One model_type of config.json.
struct Family {
  std::string_view model_type;
  /// Fills in what is peculiar to the family; what all share has been read before.
  void (*read)(const ConfigReader& reader, ModelConfig& config);
  ParameterTable (*parameters)(const ModelConfig& config);
};
[[nodiscard]] std::span<const Family> families();

/// The sizes in the text of a config.json. Throws InputError naming `file`, the key, its value and the reason
/// where something is missing, wrong, contradictory or not built.
[[nodiscard]] ModelConfig read_config(std::string_view text, const std::string& file);

/// The weights of a model.
[[nodiscard]] ParameterTable parameter_table(const ModelConfig& config);

/// A degree of the mesh that does not fit the model.
struct MeshProblem {
  std::string key;   // of the job file: "parallel.tensor"
  std::string text;  // "parallel.tensor = 3 does not divide the model's 4 attention heads (use 1, 2)"
};
[[nodiscard]] std::vector<MeshProblem> check_mesh(const ModelConfig& config, const cluster::Degrees& degrees);

}  // namespace moebius::models

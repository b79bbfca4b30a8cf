#pragma once
#include <cstdint>
#include <string>

#include "models/model_files.h"

namespace moebius::checkpoint {

/// Everything in a checkpoint that is not a tensor. Random numbers are functions of the seed and of counters,
/// so seed, iteration and samples are the whole state of the generator and of the data.
struct Contents {
  std::int64_t iteration = 0;  // finished iterations; 0 for an imported model
  std::int64_t samples = 0;    // packs or rows taken from the training data, over all epochs
  std::int64_t seed = 0;
  /// Rises by one with every save into a folder. The newest checkpoint is the one with the highest, not
  /// the one with the most iterations: a run may have gone back to an older one. Set by Folder::save.
  std::int64_t sequence = 0;
  /// The day on which the run began, "25 Nov 2026", which templates may write; empty for an imported model.
  std::string started_on;
  std::string job;                 // the completed job file (TOML); empty for an imported model
  models::ModelFiles model_files;  // config.json and the tokenizer's files
};

}  // namespace moebius::checkpoint

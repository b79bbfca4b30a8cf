#pragma once
#include <functional>

#include "base/log.h"
#include "checkpoint/shard_access.h"
#include "cluster/cluster.h"
#include "cluster/environment.h"
#include "job/job.h"
#include "models/config.h"
#include "models/model_files.h"
#include "models/shards.h"
#include "training/datasets.h"

/// training: one step, and the loop.
///
///   training.h       the loop: resume, step, evaluate, save, stop
///   step.h           one optimizer step over the mesh
///   objective.h      what is minimised
///   reference_model.h   what answers are compared with (dpo); reference_cache.h: what it says, on disk
///   model_state.h    this rank's weights, gradients, moments and the decoder that uses them
///   hardware.h       CPU or GPU, and in which precision
///   memory_check.h   does it fit
///   datasets.h       the job's files -> packs; encoded_files.h: encoded once, in cache_folders.h
///   run_files.h      what a run writes and reads under its output folder
///   speed.h          how fast it was, and where the time went
///   metrics.h        numbers of an iteration; metrics.jsonl. tensorboard.h, progress.h: the same for people
namespace moebius::training {

/// What a training starts from.
struct Start {
  job::Job job;
  const models::ModelConfig& config;
  const models::ModelFiles& files;  // travel into every checkpoint
  const TextTools& text;
  /// Reads the weights to start from, where there is no checkpoint to resume; empty: a random start. Called
  /// on all ranks; may throw Error on some.
  checkpoint::SlabReading read_weights;
  /// The same of the factors of an adapter; empty: new ones.
  checkpoint::SlabReading read_adapter = {};
  /// The same of the model that answers are compared with (dpo).
  checkpoint::SlabReading read_reference = {};
  std::string reference_key = {};  // changes when that model does
};

enum class Outcome : std::uint8_t {
  finished,
  stopped_early,  // with a checkpoint; to be run again
};

/// Trains the job to its end, from the newest whole checkpoint under its output folder or from the start.
/// Nothing happens where the last iteration is done already. Collective; throws AgreedError.
[[nodiscard]] Outcome train(const Start& start, cluster::Cluster& cluster,
                            const cluster::Environment& environment, const Log& log);

}  // namespace moebius::training

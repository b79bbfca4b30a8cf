#pragma once
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "cluster/cluster.h"
#include "data/data.h"
#include "job/job.h"

namespace moebius::training {

/// How text becomes tokens, for one model.
struct TextTools {
  const data::Tokenizer* tokenizer = nullptr;  // null: only encoded and synthetic rows can be read
  data::ModelText model;
  data::TokenizerWords words;
  std::int64_t vocab = 0;         // of the model, not of the tokenizer
  std::uint64_t fingerprint = 0;  // of the tokenizer's files
};

/// The encoder of a job's rows. Throws UsageError as data::encode_settings does.
[[nodiscard]] data::Encoder make_encoder(const job::Job& job, const TextTools& tools);

/// The files that an entry of data.train means (data::row_files), the same on every rank: rank 0 looks.
/// Collective; throws AgreedError.
[[nodiscard]] std::vector<std::string> files_of(const std::string& path, cluster::Cluster& cluster);

/// The data of a job: samples of all files, and which of them make up the packs of training and validation.
struct Datasets {
  std::unique_ptr<data::JoinedSamples> samples;
  data::Packs train, validation;
  std::string key;  // changes when a sample or its number does
};

/// Encodes the files of the job on all ranks into <output>/cache, where a later start of the same data finds
/// them again; draws, splits, shuffles and packs, the same on every rank; says how many rows, samples, tokens
/// and packs there are and what was left out, by reason. Collective; throws AgreedError.
[[nodiscard]] Datasets prepare_datasets(const job::Job& job, const TextTools& tools,
                                        cluster::Cluster& cluster, const Log& log);

}  // namespace moebius::training

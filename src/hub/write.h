#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "base/log.h"
#include "cluster/cluster.h"
#include "hub/weights.h"
#include "models/model_files.h"

namespace moebius::hub {

/// What `export` may choose.
struct WriteSettings {
  std::filesystem::path folder;                 // must not exist, or be empty
  std::optional<Dtype> dtype;                   // of all tensors; nothing: as they are stored
  std::int64_t max_file_bytes = 5'000'000'000;  // of tensors a file; Hugging Face's own default
  std::string stem = "model";                   // what the files of tensors are called
};

/// Writes a Hugging Face folder: the tensors of `source` in safetensors files with an index, and `files` byte
/// for byte. Collective: the place of every byte follows from the table, so each rank reads an equal part of
/// every parameter, at most 256 MiB at a time, and writes it where it belongs. All happens in
/// `<folder>.partial`, which becomes the folder when it is complete, checked and on the disk; an interrupted
/// export leaves no `<folder>`. Every rank throws alike: InputError from the source, ClusterError from the
/// output.
void write_folder(const WeightSource& source, const models::ModelFiles& files, const WriteSettings& settings,
                  cluster::Cluster& cluster);

}  // namespace moebius::hub

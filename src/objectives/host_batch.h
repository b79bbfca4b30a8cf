#pragma once
#include "data/batch/batches.h"
#include "models/batch.h"

namespace moebius::objectives {

/// This rank's share of a micro batch of the data as a decoder in space S takes it.
template <Space S>
[[nodiscard]] models::HostBatch host_batch(const data::MicroBatch& batch, const cluster::Mesh& mesh) {
  return {{.ids = batch.ids, .positions = batch.positions, .targets = batch.targets, .starts = batch.starts},
          models::token_share<S>(mesh)};
}

}  // namespace moebius::objectives

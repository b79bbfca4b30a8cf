#pragma once
#include "data/batch/batches.h"
#include "models/batch.h"

namespace moebius::objectives {

/// A micro batch of the data as a decoder in space S takes it, padded for `tensor_degree` ranks.
template <Space S>
[[nodiscard]] models::HostBatch host_batch(const data::MicroBatch& batch, std::int64_t tensor_degree) {
  return {{.ids = batch.ids, .positions = batch.positions, .targets = batch.targets, .starts = batch.starts},
          models::token_multiple<S>(tensor_degree)};
}

}  // namespace moebius::objectives

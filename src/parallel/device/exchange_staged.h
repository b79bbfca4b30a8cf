#pragma once
#include "parallel/exchange.h"

namespace moebius::parallel {

/// Where calls are cut; only tests have a reason to change it.
struct StagingLimits {
  std::int64_t segment_bytes = std::int64_t{1} << 23;  // of pinned memory that a sum or a gather takes
};

/// Device memory over an exchange of host memory: down to pinned memory, the host's call, up again. The host
/// waits for the queue in every call. For ranks that share a GPU, which NCCL refuses, and for tests: slow,
/// but the sums are the host's, bit for bit. all_to_all takes as much pinned memory as its rows.
[[nodiscard]] std::unique_ptr<Exchange<Space::device>> make_staged_exchange(
    std::unique_ptr<Exchange<Space::host>> host, const StagingLimits& limits = {});

}  // namespace moebius::parallel

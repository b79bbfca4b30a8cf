#pragma once
#include <optional>

#include "models/adapter.h"
#include "models/models.h"

namespace moebius::plan {

struct ModelNumbers {
  std::int64_t parameters = 0;
  std::int64_t met =
      0;  // by a token: those of the matrices that it is multiplied with; of the experts, its top_k
};
[[nodiscard]] ModelNumbers numbers_of(const models::ModelConfig& config);
/// Of the factors of an adapter alone.
[[nodiscard]] ModelNumbers numbers_of(const models::ModelConfig& config,
                                      const models::AdapterSettings& adapter);

/// Of training, for sequences of `length`: 6 x parameters met + 6 x layers x length x heads x head_dim, which
/// is the causal half of attention, forward and backward. What is made again does not count. With an adapter
/// 4 x parameters met, which do not learn, and 6 x those of the adapter.
[[nodiscard]] double flops_a_token(const models::ModelConfig& config, std::int64_t length,
                                   const std::optional<models::AdapterSettings>& adapter = {});

}  // namespace moebius::plan

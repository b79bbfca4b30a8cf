#pragma once
#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// Columns "input_ids", "labels" and maybe "loss_scale", one number a token -> a row that is already encoded.
/// Throws Dropped{malformed_tokens}.
[[nodiscard]] TokenRow token_row(const Json::Object& columns);

}  // namespace moebius::data

#pragma once
#include <string>

#include "job/schema.h"

namespace moebius::job {

/// The completed job: every key with its value, in the order of the schema, as TOML that parse_job reads back
/// to the same Job. Left out: an absent [lora], thinking switches that were not given, and of epochs and
/// iterations the one that does not count.
[[nodiscard]] std::string write_job(const Job& job);

/// A value as it stands in the file: `"auto"`, `1e-05`, `["a.jsonl"]`. Numbers have the fewest digits that
/// are read back exactly.
[[nodiscard]] std::string value_text(const Value& value);

/// "parallel.expert = 6", for messages.
[[nodiscard]] std::string setting_text(const Job& job, const std::string& key);

}  // namespace moebius::job

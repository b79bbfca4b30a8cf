#pragma once
#include <optional>
#include <string>
#include <vector>

#include "plan/need.h"

namespace moebius::plan {

/// Settings of a job changed together, and what a rank needs then.
struct Proposal {
  std::vector<std::string> settings;  // "train.recompute = \"selective\""
  std::string price;                  // in words; of the dearest of them
  Need need;                          // of the rank that needs most
  bool fits = false;
};

struct Advice {
  std::vector<Proposal> single;      // each alone, the cheapest first; only what frees memory
  std::optional<Proposal> cheapest;  // that fits: one change, or the several that cost least
};

/// What could be changed so that the job needs less on as many ranks. What a change costs is an estimate of
/// the time it takes, to order by.
[[nodiscard]] Advice advise(const Question& question);

/// "use optimizer.moments = "bf16", train.recompute = "selective" (40.1 GiB each)", or what else would help.
[[nodiscard]] std::string cure_text(const Advice& advice);

}  // namespace moebius::plan

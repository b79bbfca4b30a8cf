#pragma once
#include <cstdint>
#include <string>

/// Names inside a file. Internal.
namespace moebius::checkpoint {

inline const std::string kFormat = "format", kFormatName = "moebius checkpoint";
inline const std::string kFormatVersion = "format_version";
inline constexpr std::int64_t kThisVersion = 1;
inline const std::string kIteration = "iteration", kSamples = "samples", kSeed = "seed",
                         kSequence = "sequence", kStartedOn = "started_on";
inline const std::string kJob = "job", kModelFolder = "model/";

}  // namespace moebius::checkpoint

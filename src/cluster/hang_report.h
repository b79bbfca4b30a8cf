#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/mesh.h"

namespace moebius::cluster {

/// What a rank's watchdog tells when it is asked. Plain bytes: it travels as it is.
struct RankState {
  std::int64_t rank = 0;
  std::array<char, 24> phase{};
  double phase_seconds = 0;                      // since the phase began
  std::array<std::int64_t, kAxisCount> calls{};  // collectives entered along each axis
  std::int64_t waiting = 0;                      // 1: in a collective, which is:
  std::int64_t axis = 0;                         //   an Axis
  std::int64_t number = 0;                       //   the how manyth along its axis
  double waiting_seconds = 0;
  std::array<char, 24> operation{};
  std::array<char, 104> name{};
};

/// Why `waiter` waits: its collective, the ranks of its group that did not arrive and what they do instead
/// (`states` by rank; nothing: no answer); then the same for the collectives that those wait in.
[[nodiscard]] std::string hang_report(const RankState& waiter,
                                      const std::vector<std::optional<RankState>>& states, const Mesh& mesh);

}  // namespace moebius::cluster

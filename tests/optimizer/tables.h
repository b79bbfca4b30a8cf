#pragma once
#include "models/parameter_table.h"

namespace moebius::test {

/// A small model's table with every way that a row is split: by columns, by rows, not at all, over experts.
inline models::ParameterTable small_table() {
  using models::Axis;
  using models::Decay;
  models::ParameterTable table;
  table.push_back({.name = "embedding", .shape = {24, 6}, .splits = {{Axis::tensor, 0}}});
  table.push_back({.name = "norm", .shape = {6}, .decay = Decay::no});
  table.push_back({.name = "query", .shape = {16, 6}, .splits = {{Axis::tensor, 0}}});
  table.push_back({.name = "output", .shape = {6, 16}, .splits = {{Axis::tensor, 1}}});
  table.push_back({.name = "router", .shape = {8, 6}});
  table.push_back({.name = "experts.gate_up",
                   .shape = {8, 2, 4, 6},
                   .splits = {{Axis::expert, 0}, {Axis::expert_tensor, 2}}});
  table.push_back(
      {.name = "experts.down", .shape = {8, 6, 4}, .splits = {{Axis::expert, 0}, {Axis::expert_tensor, 2}}});
  table.push_back({.name = "final_norm", .shape = {6}, .decay = Decay::no});
  return table;
}

}  // namespace moebius::test

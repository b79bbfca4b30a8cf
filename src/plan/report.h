#pragma once
#include <string>

#include "plan/changes.h"

namespace moebius::plan {

/// The plan for people: model, mesh, step, bytes of a rank by purpose beside what there is, and, where it
/// does not fit, what could be changed.
[[nodiscard]] std::string report_text(const Question& question, const std::vector<RankKind>& kinds,
                                      const std::optional<Advice>& advice);

/// "weights 1.2 GiB, gradients ...": one line of the parts.
[[nodiscard]] std::string parts_text(const Need& need);

/// Why a job that does not fit is refused, and the cure.
[[nodiscard]] std::string refusal_text(const Machine& machine, const Need& need, const Advice& advice);

}  // namespace moebius::plan

#include "cluster/hang_report.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <tuple>

#include "base/text.h"

namespace moebius::cluster {
namespace {

constexpr std::size_t kRanksToList = 16;  // a line a rank; more are counted

/// One call along one group: every rank of the group sees the same.
struct CallKey {
  std::int64_t axis, first_rank, number;
  [[nodiscard]] auto tied() const { return std::tie(axis, first_rank, number); }
  bool operator<(const CallKey& other) const { return tied() < other.tied(); }
};

std::vector<std::int64_t> group_of(const Mesh& mesh, const RankState& state) {
  return Mesh(mesh.size(), state.rank, mesh.degrees()).group(Axis(state.axis));
}

std::string ranks_text(const std::vector<std::int64_t>& ranks) {
  if (std::int64_t(ranks.size()) > 2 && ranks.back() - ranks.front() + 1 == std::int64_t(ranks.size()))
    return fmt::format("{} to {}", ranks.front(), ranks.back());
  const std::size_t listed = std::min(ranks.size(), kRanksToList);
  std::vector<std::string> words(listed);
  std::transform(ranks.begin(), ranks.begin() + std::ptrdiff_t(listed), words.begin(),
                 [](std::int64_t rank) { return std::to_string(rank); });
  if (listed < ranks.size()) words.emplace_back("...");
  return join(words);
}

std::string call_text(const RankState& state, const std::vector<std::int64_t>& group) {
  const std::string place =
      Axis(state.axis) == Axis::world
          ? fmt::format("all {} ranks", group.size())
          : fmt::format("axis {}, ranks {}", name_of(Axis(state.axis)), ranks_text(group));
  return fmt::format("{} '{}' ({}, call {})", state.operation.data(), state.name.data(), place, state.number);
}

bool same_call(const RankState& a, const RankState& b) {
  return a.operation == b.operation && a.name == b.name;
}

class Report {
 public:
  Report(const std::vector<std::optional<RankState>>& states, const Mesh& mesh)
      : states_(states), mesh_(mesh) {}

  /// Tells of `waiter`'s call, and of each call that a missing rank waits in.
  void add(const RankState& waiter) {
    const std::vector<std::int64_t> group = group_of(mesh_, waiter);
    if (!told_.insert({waiter.axis, group.front(), waiter.number}).second) return;
    text_ += fmt::format("{} has not ended after {} on rank {}, in phase {}\n", call_text(waiter, group),
                         seconds_text(waiter.waiting_seconds), waiter.rank, waiter.phase.data());
    std::vector<const RankState*> next;
    std::size_t listed = 0, missing = 0;
    for (const std::int64_t rank : group) {
      const auto& state = states_[std::size_t(rank)];
      const std::string why = reason(waiter, state);
      if (why.empty()) continue;
      ++missing;
      if (listed < kRanksToList) {
        text_ += fmt::format("  rank {} {}\n", rank, why);
        ++listed;
      }
      if (state && state->waiting != 0) next.push_back(&*state);
    }
    if (missing > listed) text_ += fmt::format("  and {} ranks more\n", missing - listed);
    if (missing == 0) text_ += "  every rank has arrived: the network or MPI itself does not move on\n";
    for (const RankState* state : next) add(*state);
  }

  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  /// Why the rank of `state` does not take part in the waiter's call; "" where it does.
  [[nodiscard]] static std::string reason(const RankState& waiter, const std::optional<RankState>& state) {
    if (!state) return "did not arrive: no answer (stopped, dead or not reachable)";
    const std::int64_t entered = state->calls[std::size_t(waiter.axis)];
    const std::string phase = state->phase.data();
    if (entered < waiter.number && state->waiting == 0)
      return fmt::format("did not arrive: in phase {} for {}", phase, seconds_text(state->phase_seconds));
    if (entered < waiter.number)
      return fmt::format("did not arrive: waits in {} '{}' on axis {}, in phase {}", state->operation.data(),
                         state->name.data(), name_of(Axis(state->axis)), phase);
    const bool in_this = state->waiting != 0 && state->axis == waiter.axis && state->number == waiter.number;
    if (in_this && !same_call(waiter, *state))
      return fmt::format("made another call in its place: {} '{}', in phase {}", state->operation.data(),
                         state->name.data(), phase);
    return "";
  }

  const std::vector<std::optional<RankState>>& states_;
  const Mesh& mesh_;
  std::set<CallKey> told_;
  std::string text_;
};

}  // namespace

std::string hang_report(const RankState& waiter, const std::vector<std::optional<RankState>>& states,
                        const Mesh& mesh) {
  Report report(states, mesh);
  report.add(waiter);
  std::string text = std::move(report).text();
  text.pop_back();  // the last line's end
  return text;
}

}  // namespace moebius::cluster

#include "plan/report.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"
#include "plan/numbers.h"
#include "plan/timeline.h"

namespace moebius::plan {
namespace {

/// "25.4 G", "1.66 P": in front of a unit.
std::string metric_text(double count) {
  constexpr std::array<std::pair<double, const char*>, 6> prefixes{
      {{1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  for (const auto& [size, prefix] : prefixes) {
    if (count >= size) return fmt::format("{:.4g} {}", count / size, prefix);
  }
  return fmt::format("{:.4g} ", count);
}

/// "30.53 billion parameters"
std::string parameters_text(std::int64_t count) {
  if (count >= 1'000'000'000) return fmt::format("{:.4g} billion parameters", double(count) / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.4g} million parameters", double(count) / 1e6);
  return fmt::format("{} parameters", count);
}

std::string count_text(std::int64_t count, const std::string& noun, const char* plural = "s") {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : plural);
}

std::string head_text(const Question& question) {
  const auto& [job, config, ranks, pack_tokens, machine] = question;
  const cluster::Mesh mesh = mesh_of(job, ranks, 0);
  const ModelNumbers numbers = numbers_of(config);
  const std::int64_t of_rank =
      models::ShardLayout(models::parameter_table(config), mesh, stages_of(job, config)).size();
  const double flops = flops_a_token(config, pack_tokens, adapter_of(job));
  const std::int64_t step_tokens = job.train.global_batch_size * pack_tokens;
  const std::int64_t micro_batches =
      job.train.global_batch_size / (job.train.micro_batch_size * mesh.degree(cluster::Axis::data));
  const std::string degrees = mesh.text();
  const bool is_dpo = job.objective.kind == job::ObjectiveKind::dpo;
  std::string text;
  const auto line = [&](const char* name, const std::string& words) {
    text += fmt::format("{:<13}{}\n", name, words);
  };
  line("model", fmt::format("{}, {}: {}, of which a token meets {:.3g} %", config.family,
                            count_text(config.layers, "layer"), parameters_text(numbers.parameters),
                            100 * double(numbers.met) / double(numbers.parameters)));
  line("mesh", fmt::format("{}{}, {} each", count_text(ranks, "rank"), degrees.empty() ? "" : ": " + degrees,
                           parameters_text(of_rank)));
  if (const auto adapter = adapter_of(job)) {
    line("adapter", fmt::format("{} learn: rank {}, scale {:.4g}",
                                parameters_text(numbers_of(config, *adapter).parameters), adapter->rank,
                                adapter->scale()));
  }
  line("micro batch", fmt::format("{} of {} tokens, all trained: {} tokens{}",
                                  count_text(job.train.micro_batch_size, job.data.packing ? "full pack"
                                                                         : is_dpo         ? "pair"
                                                                                          : "sample"),
                                  pack_tokens, question.micro_batch_tokens(),
                                  job.parallel.expert > 1 ? ", the same number for every expert" : ""));
  line("step", fmt::format("{} tokens, {} a data rank, {}FLOP a token, {}FLOP", step_tokens,
                           count_text(micro_batches, "micro batch", "es"), metric_text(flops),
                           metric_text(flops * double(step_tokens))));
  if (job.parallel.pipeline > 1) line("pipeline", pipeline_text(plan_pipeline(question)));
  line("computed in", fmt::format("{} on {}", machine.precision == Precision::bf16 ? "bf16" : "fp32",
                                  machine.space == Space::host ? "CPUs" : "GPUs"));
  return text;
}

std::string cell(std::int64_t bytes) {
  return fmt::format("  {:>10}  {:>16}", bytes_text(bytes), bytes);
}

/// Bytes by purpose, a column a kind of rank.
std::string table_text(const std::vector<RankKind>& kinds) {
  std::string text = fmt::format("{:<13}", "a rank needs");
  for (const RankKind& kind : kinds) {
    const std::string who = kinds.size() == 1 ? "" : fmt::format("rank {}, {} alike", kind.first, kind.count);
    text += fmt::format("  {:>28}", who);
  }
  while (text.ends_with(' ')) text.pop_back();
  text += '\n';
  const std::vector<NeedPart> names = parts_of(kinds.front().need);
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string cells;
    std::int64_t most = 0;
    for (const RankKind& kind : kinds) {
      const std::int64_t bytes = parts_of(kind.need)[i].bytes;
      cells += cell(bytes);
      most = std::max(most, bytes);
    }
    if (most > 0) text += fmt::format("{:<13}{}\n", names[i].name, cells);
  }
  text += fmt::format("{:<13}", "total");
  for (const RankKind& kind : kinds) text += cell(kind.need.total());
  return text + '\n';
}

std::string machine_text(const Machine& machine, const Need& need) {
  std::string text;
  const std::int64_t all = need.total() * machine.ranks, left = machine.memory - all;
  if (machine.ranks > 1) text += fmt::format("{:<13}{}\n", fmt::format("{} ranks", machine.ranks), cell(all));
  text += fmt::format("{:<13}{}\n", machine.name + " has", cell(machine.memory));
  text += fmt::format("{:<13}{}\n", left >= 0 ? "left" : "missing", cell(left >= 0 ? left : -left));
  return text;
}

/// What learned routing may add, where rows travel to the ranks of their experts.
std::string routing_text(const Question& question, const Need& need) {
  if (question.job.parallel.expert == 1 || question.job.moe.routing == job::Routing::even) return "";
  const Need twice = need_on(mesh_of(question.job, question.ranks, 0), question, 2);
  return fmt::format("\nA rank whose experts get twice their even share of the tokens needs {} more.\n",
                     bytes_text(twice.total() - need.total()));
}

std::string changes_text(const Advice& advice, std::int64_t now) {
  std::string text = fmt::format("\n{:<40}{:>12}{:>12}  {}\n", "changes, the cheapest first", "a rank needs",
                                 "it frees", "and costs");
  for (const Proposal& proposal : advice.single) {
    text +=
        fmt::format("{:<40}{:>12}{:>12}  {}\n", join(proposal.settings), bytes_text(proposal.need.total()),
                    bytes_text(now - proposal.need.total()), proposal.price);
  }
  return text + "\nrecommended: " + cure_text(advice) + "\n";
}

}  // namespace

std::string report_text(const Question& question, const std::vector<RankKind>& kinds,
                        const std::optional<Advice>& advice) {
  const Need& most = kinds.front().need;
  std::string text = head_text(question) + "\n" + table_text(kinds) + machine_text(question.machine, most) +
                     routing_text(question, most);
  if (advice) text += changes_text(*advice, most.total());
  return text;
}

std::string parts_text(const Need& need) {
  std::string text;
  for (const NeedPart& part : parts_of(need)) {
    if (part.bytes == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", part.name, bytes_text(part.bytes));
  }
  return text;
}

std::string refusal_text(const Machine& machine, const Need& need, const Advice& advice) {
  const std::string who =
      machine.ranks == 1 ? fmt::format("a rank needs {}", bytes_text(need.total()))
                         : fmt::format("{} ranks need {} each, {} in all", machine.ranks,
                                       bytes_text(need.total()), bytes_text(need.total() * machine.ranks));
  return fmt::format("{}, but {} has {}; {}", who, machine.name, bytes_text(machine.memory),
                     cure_text(advice));
}

}  // namespace moebius::plan

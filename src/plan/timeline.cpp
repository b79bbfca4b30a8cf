#include "plan/timeline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

#include "base/text.h"

namespace moebius::plan {
namespace {

using parallel::Instruction;
using parallel::Interval;
using parallel::Work;

/// FLOPs of each instruction. Backward is twice forward, half of it for each kind of gradient; the head's
/// loss and its gradients are computed in the forward of the last chunk.
class Costs {
 public:
  Costs(const Question& question, const models::Stages& stages)
      : question_(question), stages_(stages), layer_(mean_layer()) {}

  double operator()(std::int64_t stage, const Instruction& instruction) const {
    const models::ChunkCost cost = models::cost_of(question_.config, stages_, stage, instruction.chunk);
    const double again = question_.job.train.recompute == job::Recompute::full ? cost.layers : 0;
    switch (instruction.work) {
      case Work::forward: return (cost.layers + 3 * cost.head) / layer_;
      case Work::backward: return (2 * cost.layers + again) / layer_;
      case Work::backward_input: return (cost.layers + again) / layer_;
      case Work::backward_weight: return cost.layers / layer_;
    }
    return 0;
  }

 private:
  [[nodiscard]] double mean_layer() const {
    double sum = 0;
    for (std::int64_t chunk = 0; chunk < stages_.chunks(); ++chunk) {
      for (std::int64_t stage = 0; stage < stages_.pipeline(); ++stage)
        sum += models::cost_of(question_.config, stages_, stage, chunk).layers;
    }
    return sum / double(question_.config.layers);
  }

  const Question& question_;
  const models::Stages& stages_;
  double layer_;
};

std::vector<std::string> layer_counts(const models::Stages& stages) {
  std::vector<std::string> counts;
  for (std::int64_t stage = 0; stage < stages.pipeline(); ++stage) {
    std::vector<std::string> chunks;
    for (std::int64_t chunk = 0; chunk < stages.chunks(); ++chunk)
      chunks.push_back(std::to_string(stages.layers(stage, chunk).size()));
    counts.push_back(join(chunks, " + "));
  }
  return counts;
}

std::string kind_text(const PipelinePlan& plan) {
  if (plan.schedule.shape.chunks > 1) return "interleaved";
  const auto is_split = [](const Instruction& one) { return one.work == Work::backward_input; };
  const bool splits = std::ranges::any_of(plan.schedule.stages.back(), is_split);
  return splits ? "zero-bubble" : "1f1b";
}

// Of text: columns of a row where the shortest instruction leaves room for its label, and at most.
constexpr double kLabelColumns = 3, kChunkLabelColumns = 5, kMostColumns = 180;

std::string row_text(const std::vector<Interval>& row, std::int64_t chunks, double columns_a_unit) {
  std::string text;
  const auto column = [&](double time) { return std::size_t(std::llround(time * columns_a_unit)); };
  for (const Interval& interval : row) {
    text.resize(std::max(text.size(), column(interval.begin)), '.');
    const std::size_t width = column(interval.end) > text.size() ? column(interval.end) - text.size() : 0;
    std::string label = to_text(interval.instruction, chunks);
    const bool has_room = label.size() <= width;
    if (!has_room) label = label.substr(0, 1);  // a part of a number would be another number
    label.resize(width, has_room ? ' ' : '-');
    text += label;
  }
  return text;
}

double shortest(const parallel::Timeline& timeline) {
  double least = timeline.end;
  for (const auto& row : timeline.stages) {
    for (const Interval& interval : row) least = std::min(least, interval.end - interval.begin);
  }
  return least;
}

// Of the picture, in its pixels.
constexpr double kLeft = 70, kTop = 40, kRow = 30, kWidth = 1400;
constexpr std::array<const char*, parallel::kWorkCount> kColors{"#8ab6e8", "#8fd19e", "#8fd19e", "#f3c178"};

std::string box(const Interval& interval, double x_a_unit, double y, std::int64_t chunks) {
  const double width = (interval.end - interval.begin) * x_a_unit, x = kLeft + interval.begin * x_a_unit;
  const std::string label = to_text(interval.instruction, chunks);
  std::string text = fmt::format(
      R"(<rect x="{:.2f}" y="{:.0f}" width="{:.2f}" height="{:.0f}" fill="{}" fill-opacity="{}"><title>{}: {:.3g} to {:.3g}</title></rect>)"
      "\n",
      x, y, width, kRow - 4, kColors[std::size_t(interval.instruction.work)],
      interval.instruction.chunk % 2 == 0 ? 1 : 0.6, label, interval.begin, interval.end);
  const bool has_room = width > 7.0 * double(label.size());
  if (has_room) text += fmt::format("<text x=\"{:.2f}\" y=\"{:.0f}\">{}</text>\n", x + 3, y + 17, label);
  return text;
}

}  // namespace

PipelinePlan plan_pipeline(const Question& question) {
  PipelinePlan plan{.stages = stages_of(question.job, question.config),
                    .schedule = schedule_of(question.job, mesh_of(question.job, question.ranks, 0)),
                    .timeline = {}};
  plan.timeline = parallel::simulate(plan.schedule, Costs(question, plan.stages));
  return plan;
}

std::string pipeline_text(const PipelinePlan& plan) {
  return fmt::format("{} stages of {} layers, {}: {:.1f} % of the time of forward and backward is waiting",
                     plan.stages.pipeline(), join(layer_counts(plan.stages)), kind_text(plan),
                     100 * plan.timeline.bubble_share());
}

std::string timeline_text(const PipelinePlan& plan) {
  const parallel::Timeline& timeline = plan.timeline;
  const double label = plan.schedule.shape.chunks == 1 ? kLabelColumns : kChunkLabelColumns;
  const double least = shortest(timeline);
  const double columns = std::max(1 / least, std::min(label / least, kMostColumns / timeline.end));
  std::string text;
  for (std::size_t stage = 0; stage < timeline.stages.size(); ++stage) {
    const double busy = timeline.busy(std::int64_t(stage)) / timeline.end;
    std::string row = row_text(timeline.stages[stage], plan.schedule.shape.chunks, columns);
    row.resize(std::size_t(std::llround(timeline.end * columns)), '.');
    text += fmt::format("stage {:<3} |{}| {:.1f} % busy\n", stage, row, 100 * busy);
  }
  return text + pipeline_text(plan) + "\n";
}

std::string timeline_svg(const PipelinePlan& plan) {
  const parallel::Timeline& timeline = plan.timeline;
  const double x_a_unit = kWidth / timeline.end, height = kTop + kRow * double(timeline.stages.size()) + 10;
  std::string text = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{:.0f}" height="{:.0f}" font-family="sans-serif" font-size="11">)"
      "\n<text x=\"{:.0f}\" y=\"22\" font-size=\"14\">{}</text>\n",
      kLeft + kWidth + 10, height, kLeft, pipeline_text(plan));
  for (std::size_t stage = 0; stage < timeline.stages.size(); ++stage) {
    const double y = kTop + kRow * double(stage);
    text += fmt::format("<text x=\"8\" y=\"{:.0f}\">stage {}</text>\n", y + 17, stage);
    text += fmt::format(R"(<rect x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}" fill="#eeeeee"/>)"
                        "\n",
                        kLeft, y, kWidth, kRow - 4);
    for (const Interval& interval : timeline.stages[stage])
      text += box(interval, x_a_unit, y, plan.schedule.shape.chunks);
  }
  return text + "</svg>\n";
}

}  // namespace moebius::plan

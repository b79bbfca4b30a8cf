#include "training/speed.h"

#include <fmt/format.h>

namespace moebius::training {
namespace {

/// "  12.34", or blanks where there is nothing to say.
std::string milliseconds(double seconds, int width) {
  return seconds == 0 ? std::string(std::size_t(width), ' ') : fmt::format("{:{}.2f}", 1e3 * seconds, width);
}
std::string percent(double part, double whole, int width) {
  return part == 0 || whole == 0 ? std::string(std::size_t(width), ' ')
                                 : fmt::format("{:{}.1f} %", 100 * part / whole, width - 2);
}

struct Line {
  std::string_view name;
  double forward = 0, backward = 0, sum = 0, limit = 0;
};

class Table {
 public:
  Table(double step, bool has_limits) : step_(step), has_limits_(has_limits) {}

  void head() {
    text_ += fmt::format("{:24}{:>10}{:>10}{:>10}{:>9}", "ms a step", "forward", "backward", "all", "share");
    text_ += has_limits_ ? fmt::format("{:>10}{:>10}\n", "limit", "of it") : "\n";
  }
  void add(const Line& line) {
    std::string text =
        fmt::format("{:24}{}{}{}{}", line.name, milliseconds(line.forward, 10),
                    milliseconds(line.backward, 10), milliseconds(line.sum, 10), percent(line.sum, step_, 9));
    if (has_limits_) text += milliseconds(line.limit, 10) + percent(line.limit, line.sum, 10);
    text_ += text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  double step_;
  bool has_limits_;
  std::string text_;
};

Line line_of(Part part, const PhaseTimes& times, const PhaseTimes& limits) {
  Line line{.name = name_of(part), .sum = times.of(part), .limit = limits.of(part)};
  if (!has_passes(part)) return line;
  line.forward = times.at(part, Pass::forward);
  line.backward = times.at(part, Pass::backward);
  return line;
}

/// Exchange in the update, of gradients and weights, is another matter than that of forward and backward.
void add_exchange(const PhaseTimes& times, Table& table) {
  const double update = times.at(Part::exchange, Pass::update);
  Line passes = line_of(Part::exchange, times, {});
  passes.sum -= update;
  if (passes.sum > 0) table.add(passes);
  if (update > 0) table.add({.name = "exchange in the update", .sum = update});
}

std::string table_text(const StepTimes& step, const SpeedFacts& facts) {
  const PhaseTimes limits = facts.peaks ? limits_of(facts.operations, *facts.peaks) : PhaseTimes{};
  Table table(step.seconds, facts.peaks.has_value());
  table.head();
  for (std::size_t i = 0; i < kParts; ++i) {
    const auto part = Part(i);
    if (part == Part::exchange) {
      add_exchange(step.parts, table);
    } else if (step.parts.of(part) > 0) {
      table.add(line_of(part, step.parts, limits));
    }
  }
  table.add({.name = "step", .sum = step.seconds, .limit = limits.total()});
  return table.text();
}

}  // namespace

void Speed::add(std::int64_t iteration, const StepTimes& step) {
  if (added_ == 0 || added_ == kWarmUp) {
    sum_ = {};
    measured_ = 0;
    first_ = iteration;
  }
  ++added_, ++measured_;
  last_ = iteration;
  sum_.parts += step.parts;
  sum_.seconds += step.seconds;
  sum_.load.tokens += step.load.tokens;
  sum_.load.targets += step.load.targets;
  sum_.load.squares += step.load.squares;
  sum_.load.micro_batches += step.load.micro_batches;
}

StepTimes Speed::mean() const {
  const double factor = measured_ == 0 ? 0 : 1 / double(measured_);
  StepTimes mean = sum_;
  mean.parts *= factor;
  mean.seconds *= factor;
  for (double* value : {&mean.load.tokens, &mean.load.targets, &mean.load.squares, &mean.load.micro_batches})
    *value *= factor;
  return mean;
}

std::string speed_text(const Speed& speed, const SpeedFacts& facts) {
  const StepTimes step = speed.mean();
  std::string text = table_text(step, facts);
  text += fmt::format("mean of iterations {} to {}", speed.first(), speed.last());
  if (facts.ranks > 1) text += fmt::format("; times, FLOPs and memory of rank 0 of {}", facts.ranks);
  const double flops = flops_of(facts.operations) / step.seconds;
  text +=
      fmt::format("\n{:.0f} tokens/s, {:.4g} model TFLOP/s", step.load.tokens / step.seconds, flops / 1e12);
  if (facts.peaks) {
    text += fmt::format(", {:.1f} % of {:.0f} ({})", 100 * flops / facts.peaks->flops,
                        facts.peaks->flops / 1e12, facts.hardware);
  } else {
    text += "; no limits: what this machine could do is not known";
  }
  text += fmt::format("\nmemory: {}\nfirst step done {:.1f} s after the program's start", facts.memory,
                      facts.seconds_to_first_step);
  return text;
}

}  // namespace moebius::training

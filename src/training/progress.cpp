#include "training/progress.h"

#include <cstdio>
#include <fmt/format.h>

#include "base/text.h"

namespace moebius::training {
namespace {

constexpr int kBarWidth = 30;

std::string numbers_text(const Metrics& metrics) {
  std::string text;
  const auto add = [&](const char* name, const char* label, const char* format) {
    if (const auto value = metrics.find(name))
      text += fmt::format("  {} ", label) + fmt::format(fmt::runtime(format), *value);
  };
  add("loss", "loss", "{:.4f}");
  add("aux_loss", "aux", "{:.4f}");
  add("reward_margin", "margin", "{:.4f}");
  add("reward_accuracy", "accuracy", "{:.2f}");
  add("eval_loss", "eval_loss", "{:.4f}");
  add("grad_norm", "grad_norm", "{:.4f}");
  add("lr", "lr", "{:.4g}");
  add("tokens_per_second", "tokens/s", "{:.0f}");
  add("load_imbalance", "load max/mean", "{:.2f}");
  return text;
}

}  // namespace

std::string progress_line(const Metrics& metrics, std::int64_t iterations, double seconds_left) {
  const auto seconds = metrics.find("seconds").value_or(0);
  const auto memory = metrics.find("peak_memory_bytes");
  return fmt::format(
      "iteration {}/{}{}  {:.3f} s{}  left {}", metrics.iteration, iterations, numbers_text(metrics), seconds,
      memory ? "  memory " + bytes_text(std::int64_t(*memory)) : "", seconds_text(seconds_left));
}

std::string progress_bar(const Metrics& metrics, std::int64_t iterations, double seconds_left, int width) {
  const int filled = iterations == 0 ? width : int(width * metrics.iteration / iterations);
  const std::string bar =
      std::string(std::size_t(filled), '=') + std::string(std::size_t(width - filled), ' ');
  return fmt::format("[{}] {}/{}{}  left {}", bar, metrics.iteration, iterations, numbers_text(metrics),
                     seconds_text(seconds_left));
}

void Progress::report(const Metrics& metrics, double seconds) {
  smoothed_seconds_ = smoothed_seconds_ == 0 ? seconds : 0.9 * smoothed_seconds_ + 0.1 * seconds;
  const double left = smoothed_seconds_ * double(settings_.iterations - metrics.iteration);
  if (!log_.speaks()) return;
  if (settings_.style == ProgressStyle::bar) {
    const std::string text = progress_bar(metrics, settings_.iterations, left, kBarWidth);
    std::fprintf(stderr, "\r\033[2K%s", text.c_str());  // back to the line's start and erase it
    std::fflush(stderr);
    return;
  }
  const bool due = metrics.iteration % settings_.interval == 0 || metrics.iteration == settings_.iterations;
  if (due) log_.info("{}", progress_line(metrics, settings_.iterations, left));
}

void Progress::finish() const {
  if (settings_.style == ProgressStyle::bar && log_.speaks()) std::fputc('\n', stderr);
}

}  // namespace moebius::training

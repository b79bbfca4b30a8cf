#include "job/built.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <span>
#include <string_view>

#include "base/text.h"
#include "job/names.h"
#include "job/unknown.h"
#include "job/write.h"

namespace moebius::job {
namespace {

/// The values of a key that this version has. A row goes when everything that its key may say is built.
struct Built {
  std::string key;
  std::vector<Value> values;
};

std::vector<Built> built_values() {
  const auto words = [](auto... text) { return std::vector<Value>{std::string(text)...}; };
  return {
      {"cluster.fabric", words("auto", "ethernet")},
      {"cluster.interface", words("auto")},
  };
}

std::string not_built(const std::string& setting, const std::string& cure) {
  return fmt::format("{}: not built yet in this version ({})", setting, cure);
}

void refuse_values(Report& report) {
  for (const Built& built : built_values()) {
    const bool is_built =
        std::ranges::find(built.values, find_key(built.key)->get(report.job())) != built.values.end();
    std::vector<std::string> texts;
    for (const Value& value : built.values) texts.push_back(value_text(value));
    report.refuse_if(!is_built, {built.key},
                     not_built(setting_text(report.job(), built.key), "use " + join(texts, " or ")));
  }
}

/// Names that stand in two lists: built, and known but not built.
struct Names {
  std::string key;
  std::span<const std::string_view> built, others;
};

void refuse_name(Report& report, const Names& names, const std::string& name) {
  const auto is_in = [&](std::span<const std::string_view> list) {
    return std::ranges::find(list, name) != list.end();
  };
  if (is_in(names.built)) return;
  const std::string setting = setting_text(report.job(), names.key);
  const std::string built = quoted_list(names.built);
  report.refuse_if(is_in(names.others), {names.key}, not_built(setting, "built are " + built));
  if (is_in(names.others)) return;
  std::vector<std::string_view> all(names.built.begin(), names.built.end());
  all.insert(all.end(), names.others.begin(), names.others.end());
  std::string cure = meant_word_text(name, all);
  if (cure.empty()) cure = fmt::format(" (built are {})", built);
  report.refuse_if(true, {names.key}, fmt::format("{}: unknown name '{}'{}", setting, name, cure));
}

/// "strategy+scale+scale": each part by its name.
void refuse_loss_scale(Report& report) {
  const auto is_strategy = [](std::string_view name) {
    return std::ranges::find(kStrategies, name) != kStrategies.end();
  };
  std::vector<std::string_view> known(kStrategies.begin(), kStrategies.end());
  known.insert(known.end(), kScales.begin(), kScales.end());
  std::string_view rest = report.job().data.loss_scale;
  const std::size_t parts = 1 + std::size_t(std::ranges::count(rest, '+'));
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t length = std::min(rest.find('+'), rest.size());
    const std::string_view name = rest.substr(0, length);
    const std::string setting = setting_text(report.job(), "data.loss_scale");
    report.refuse_if(part > 0 && is_strategy(name), {"data.loss_scale"},
                     fmt::format("{}: strategy '{}' must stand first", setting, name));
    const bool is_file = name.ends_with(".toml");
    const bool is_known = is_file || std::ranges::find(known, name) != known.end();
    std::string cure = is_known ? "" : meant_word_text(name, known);
    if (cure.empty())
      cure = fmt::format(" (there are {}, and files that end with .toml)", quoted_list(known));
    report.refuse_if(!is_known, {"data.loss_scale"},
                     fmt::format("{}: unknown name '{}'{}", setting, name, cure));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
}

void refuse_formats(Report& report, const std::string& key, const std::vector<std::string>& files) {
  constexpr std::array<std::string_view, 6> compressions{".gz", ".zst", ".xz", ".bz2", ".zip", ".tar"};
  for (const std::string& file : files) {
    const std::size_t end = file.find_last_not_of("0123456789");  // "b.parquet#500" is b.parquet
    const bool has_count = end != std::string::npos && file[end] == '#';
    const std::string_view path = std::string_view(file).substr(0, has_count ? end : file.size());
    const bool is_compressed =
        std::ranges::any_of(compressions, [&](auto tail) { return path.ends_with(tail); });
    report.refuse_if(is_compressed, {key},
                     not_built(fmt::format("{} names \"{}\", a compressed file", key, file), "unpack it"));
  }
}

}  // namespace

void refuse_what_is_not_built(Report& report) {
  const Job& job = report.job();
  refuse_values(report);
  refuse_name(report, {"data.template", kBuiltTemplates, kOtherTemplates}, job.data.template_name);
  refuse_name(report, {"data.agent_template", kBuiltAgentTemplates, kOtherAgentTemplates},
              job.data.agent_template);
  refuse_loss_scale(report);
  refuse_formats(report, "data.train", job.data.train);
  refuse_formats(report, "data.validation", job.data.validation);
  report.refuse_if(job.parallel.tensor > 1 && !job.parallel.sequence,
                   {"parallel.sequence", "parallel.tensor"},
                   not_built("parallel.sequence = false", "use true"));
}

}  // namespace moebius::job

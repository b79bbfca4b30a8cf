#include "data/encode/settings.h"

#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "base/date.h"
#include "base/error.h"
#include "base/text.h"
#include "data/rows/python_text.h"
#include "job/write.h"

namespace moebius::data {
namespace {

/// The complaint about a name that no row of `table` has.
template <class Table>
UsageError unknown_name(const job::Job& job, const std::string& key, const std::string& name,
                        const Table& table) {
  std::vector<std::string> names{"auto"};
  for (const auto& each : table) names.emplace_back(each.name);
  const std::string nearest = nearest_spelling(name, names);
  return UsageError(fmt::format("{}  {} = \"{}\" is not built (built: {}){}", job.place_of(key), key, name,
                                join(names), nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?"));
}

const Template& named_template(const job::Job& job) {
  const std::string& name = job.data.template_name;
  if (const Template* found = find_template(name)) return *found;
  throw unknown_name(job, "data.template", name, templates());
}

const AgentTemplate* agent_of(const job::Job& job, const Template* style) {
  const std::string& name = job.data.agent_template;
  if (name == "auto") return style == nullptr ? nullptr : find_agent_template(style->agent);
  if (const AgentTemplate* found = find_agent_template(name)) return found;
  throw unknown_name(job, "data.agent_template", name, agent_templates());
}

void set_style(const job::Job& job, const ModelText& model, EncodeSettings& settings) {
  if (job.data.template_name != "auto") {
    settings.style = &named_template(job);
    return;
  }
  try {
    settings.style = &automatic_template(model);
  } catch (const UsageError& problem) {
    settings.style_problem = job.place_of("data.template") + "  " + problem.what();
  }
}

LossScale loss_scale_of(const job::Job& job, const Template* style) {
  LossScale scale;
  try {
    scale = parse_loss_scale(job.data.loss_scale);
  } catch (const UsageError& problem) {
    throw UsageError(job.place_of("data.loss_scale") + "  " + problem.what());
  } catch (const InputError& problem) {
    throw InputError(job.place_of("data.loss_scale") + "  " + problem.what());
  }
  // Hybrid templates write an empty thought before answers that do not think; it is not to be learnt.
  const bool marks_thought = style != nullptr && style->is_hybrid();
  if (marks_thought && !job.data.disable_ignore_empty_think && !scale.has("ignore_empty_think")) {
    scale.scales.push_back(find_scale("ignore_empty_think"));
  }
  return scale;
}

void refuse_without_effect(const job::Job& job, const Template& style) {
  const auto refuse = [&](const std::string& key, std::string_view reason) {
    throw UsageError(fmt::format("{}  {} has no effect: {} \"{}\"; remove it", job.place_of(key), key, reason,
                                 style.name));
  };
  const bool marks_thought = style.is_hybrid() || &style == &plain_text_template();
  if (job.data.disable_ignore_empty_think && !marks_thought) {
    refuse("data.disable_ignore_empty_think", "no empty thought is ignored by itself with template");
  }
  if (!job.data.system.empty() && style.system.empty()) {
    refuse("data.system", "no system text can be written with template");
  }
  if (!job.data.add_non_thinking_prefix && style.non_thinking_prefix.empty()) {
    refuse("data.add_non_thinking_prefix", "there is no such prefix in template");
  }
}

/// Pretraining trains every token of a text, written with nothing but the tokenizer's own marks around it.
void write_plain_text(const job::Job& job, EncodeSettings& settings) {
  refuse_without_effect(job, plain_text_template());
  settings.style = &plain_text_template();
  settings.agent = nullptr;
  if (job.data.loss_scale == "default") settings.loss_scale.strategy = Strategy::all;
}

/// Log-probabilities of answers are plain sums.
void refuse_weighted_pairs(const job::Job& job, const EncodeSettings& settings) {
  if (job.objective.kind != job::ObjectiveKind::dpo || settings.weights == Weights::on_or_off) return;
  const std::string key = job.data.is_binary_loss_scale ? "data.is_binary_loss_scale" : "data.loss_scale";
  throw UsageError(
      fmt::format("{}  {} weighs tokens, and pairs have no weights (use a scale of 0 and 1, or "
                  "data.is_binary_loss_scale = true)",
                  job.place_of(key), job::setting_text(job, key)));
}

/// A name ending in .txt is read; else the two characters \n mean a line end, as on ms-swift's command line.
std::string system_text(const job::Job& job) {
  std::string text = job.data.system;
  if (!text.ends_with(".txt")) {
    replace_all(text, "\\n", "\n");
    return text;
  }
  const std::ifstream file(text);
  if (!file) {
    throw InputError(
        fmt::format("{}  data.system = \"{}\" cannot be read", job.place_of("data.system"), text));
  }
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

}  // namespace

EncodeSettings encode_settings(const job::Job& job, const ModelText& model) {
  EncodeSettings settings;
  set_style(job, model, settings);
  if (settings.style != nullptr) refuse_without_effect(job, *settings.style);
  settings.agent = agent_of(job, settings.style);
  settings.loss_scale = loss_scale_of(job, settings.style);
  if (job.objective.kind == job::ObjectiveKind::pretrain) write_plain_text(job, settings);
  const bool is_binary = job.data.is_binary_loss_scale.value_or(settings.loss_scale.is_binary());
  settings.weights = is_binary ? Weights::on_or_off : Weights::numbers;
  refuse_weighted_pairs(job, settings);
  settings.date = job.started_on.empty() ? date_of_today() : job.started_on;
  if (!job.data.system.empty()) settings.system = system_text(job);
  settings.thinking = {.enable_thinking = job.data.enable_thinking,
                       .preserve_thinking = job.data.preserve_thinking,
                       .add_non_thinking_prefix = job.data.add_non_thinking_prefix};
  if (!job.data.response_prefix.empty()) {
    settings.thinking.response_prefix = job.data.response_prefix;
    replace_all(*settings.thinking.response_prefix, "\\n", "\n");
  }
  settings.max_length = job.data.max_length;
  settings.truncation = job.data.truncation;
  return settings;
}

RowSettings row_settings(const job::Job& job) {
  const bool is_dpo = job.objective.kind == job::ObjectiveKind::dpo;
  return {.columns = job.data.columns,
          .model_name = job.data.model_name,
          .model_author = job.data.model_author,
          .answers = is_dpo ? Answers::pair : Answers::one};
}

}  // namespace moebius::data

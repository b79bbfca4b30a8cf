#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "data/agent/agent.h"
#include "data/rows/row.h"
#include "data/template/automatic.h"
#include "data/template/loss_scale.h"
#include "data/template/template.h"
#include "data/template/thinking.h"
#include "job/job.h"

namespace moebius::data {

/// Whether weights survive as numbers, or only switch tokens on and off. As in ms-swift they do the latter,
/// those of messages too, where all weights of the scale are 0 or 1, unless data.is_binary_loss_scale says
/// otherwise.
enum class Weights : std::uint8_t { on_or_off, numbers };

/// How rows become tokens: the [data] section with every name looked up.
struct EncodeSettings {
  const Template* style = nullptr;  // nullptr: rows of text cannot be encoded, and `style_problem` says why
  std::string style_problem;
  const AgentTemplate* agent = nullptr;  // nullptr: rows with tools are dropped
  LossScale loss_scale;
  Weights weights = Weights::on_or_off;
  std::optional<std::string> system;  // instead of the template's default
  std::string date;                   // for templates that write the day's: "25 Nov 2026"
  ThinkingSettings thinking;
  std::int64_t max_length = 0;  // tokens; 0: no limit
  job::Truncation truncation = job::Truncation::remove;
  std::int64_t vocabulary = 0;  // ids of encoded rows must lie below it; 0: unknown
};

/// From a job and what the model says about itself. Throws UsageError, with the key's place, for a template,
/// agent template or scale that there is not, and for a setting without effect on the template; InputError
/// for a system text or a table of weights that cannot be read. Only where "auto" finds no template the
/// complaint waits for the first row of text: encoded rows need none.
[[nodiscard]] EncodeSettings encode_settings(const job::Job& job, const ModelText& model);

[[nodiscard]] RowSettings row_settings(const job::Job& job);

}  // namespace moebius::data

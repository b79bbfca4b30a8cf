#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <limits>

#include "base/stopwatch.h"
#include "base/text.h"
#include "commands/inference.h"
#include "models/models.h"
#include "tensor/random.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kCheckSequences = 8, kCheckLength = 32;

/// Logits behind random sequences of 1, 5, ... tokens, [sequences * vocab].
std::vector<float> check_logits(const ModelArguments& which, Session& session) {
  OpenModel opened = open_model(which, session);
  const models::ModelConfig& config = opened.config;
  const auto model = load_model(opened, {}, kCheckLength, session);
  const Random random{0, RandomStream::synthetic};
  std::vector<std::vector<std::int32_t>> sequences(kCheckSequences);
  for (std::int64_t s = 0; s < kCheckSequences; ++s) {
    for (std::int64_t t = 0; t < 1 + s * (kCheckLength - 1) / (kCheckSequences - 1); ++t) {
      const auto draw = std::uint64_t(s * kCheckLength + t);
      sequences[std::size_t(s)].push_back(std::int32_t(random.below(std::uint64_t(config.vocab), draw)));
    }
  }
  std::vector<float> logits(std::size_t(kCheckSequences * config.vocab));
  model->decode(kCheckSequences, kCheckLength)->step(sequences, logits);
  return logits;
}

struct Difference {
  double largest = 0, mean = 0;
};

Difference difference(const std::vector<float>& a, const std::vector<float>& b) {
  Difference result;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double one = std::abs(double(a[i]) - double(b[i]));
    result.largest = std::isnan(one) ? one : std::max(result.largest, one);
    result.mean += one / double(a.size());
  }
  return result;
}

void compare(const ExportCommand& command, Session& session) {
  // Of an adapter alone, its base_model_name_or_path says where the model is.
  const Difference found =
      difference(check_logits(command.model, session), check_logits({command.out, ""}, session));
  session.log.info("check: logits of {} and {} differ by at most {:.3g}, {:.3g} on average",
                   command.model.path, command.out, found.largest, found.mean);
  const bool must_be_equal = !command.dtype && command.adapter != ExportCommand::Adapter::merged;
  if (must_be_equal && found.largest != 0) {
    throw cluster::AgreedError(ExitCode::failure,
                               "check: tensors were exported as they are stored, and yet the logits differ");
  }
}

void check_choice(const ExportCommand& command, const OpenModel& opened) {
  using Adapter = ExportCommand::Adapter;
  if (opened.adapter != nullptr && command.adapter == Adapter::none)
    throw UsageError(
        fmt::format("export: {} is an adapter; --merge-adapter exports the model with it taken in, "
                    "--adapter-only the adapter alone",
                    opened.adapter->path().string()));
  if (opened.adapter == nullptr && command.adapter != Adapter::none)
    throw UsageError(fmt::format("export: {} is a whole model, and no --adapter was named: {} has no effect",
                                 command.model.path,
                                 command.adapter == Adapter::merged ? "--merge-adapter" : "--adapter-only"));
}

/// What readers of a PEFT folder make of it, where that is not what is written there.
void warn_about_peft(const models::ModelConfig& config, const models::ParameterTable& factors,
                     const Session& session) {
  const auto has = [&](std::string_view end) {
    return std::ranges::any_of(
        factors, [&](const models::Parameter& row) { return row.name.find(end) != std::string::npos; });
  };
  const auto experts = std::ranges::count(config.is_moe_layer, true);
  const bool is_mixed = experts > 0 && experts < std::ptrdiff_t(config.is_moe_layer.size());
  if (is_mixed && has(".mlp."))
    session.log.warning(
        "the model has layers with experts and layers without: peft (0.21) leaves out the factors of the "
        "latters' gate, up and down projections and does not say so; --merge-adapter keeps them");
  if (has(".router."))
    session.log.warning("peft with transformers 5 has no adapters of routers; --merge-adapter keeps them");
}

/// The tensors that are written, in the place of the model's files where it is the adapter.
struct Exported {
  std::unique_ptr<hub::WeightSource> weights;
  models::ModelFiles files;
};

Exported exported_model(const ExportCommand& command, OpenModel& opened, const Session& session) {
  check_choice(command, opened);
  const models::ParameterTable table = models::parameter_table(opened.config);
  if (command.adapter == ExportCommand::Adapter::alone) {
    auto factors = opened.adapter->weights(table);
    warn_about_peft(opened.config, factors->table(), session);
    const std::string base = std::filesystem::absolute(opened.source.path()).lexically_normal().string();
    const std::string text = hub::adapter_config_text(table, opened.adapter->settings(), base);
    return {std::move(factors), {{hub::kAdapterConfig, text}}};
  }
  auto weights = opened.source.weights(table);
  if (opened.adapter != nullptr)
    weights = std::make_unique<hub::MergedWeights>(std::move(weights), opened.adapter->weights(table),
                                                   opened.adapter->settings());
  return {std::move(weights), opened.source.files()};
}

}  // namespace

ExitCode export_folder(const ExportCommand& command, Session& session) {
  const Stopwatch watch;
  auto& cluster = session.cluster;
  hub::WriteSettings settings;
  settings.folder = command.out;
  cluster.together("check the arguments", [&] {
    if (command.dtype) settings.dtype = dtype_named(*command.dtype);
    const auto bytes = parse_bytes(command.max_shard_size);
    if (!bytes)
      throw UsageError(
          fmt::format("--max-shard-size {}: a size such as 5GB or 500MiB", command.max_shard_size));
    settings.max_file_bytes = *bytes;
  });
  if (command.adapter == ExportCommand::Adapter::alone) {
    settings.stem = "adapter_model";
    settings.max_file_bytes = std::numeric_limits<std::int64_t>::max();  // PEFT reads one file
  }
  OpenModel opened = open_model(command.model, session);
  const Exported exported =
      cluster.together("open the weights", [&] { return exported_model(command, opened, session); });
  hub::write_folder(*exported.weights, exported.files, settings, cluster);
  session.log.info("exported {} to {} ({})", command.model.path, command.out, seconds_text(watch.seconds()));
  if (command.check == ExportCommand::Check::compare_logits) compare(command, session);
  return ExitCode::done;
}

}  // namespace moebius::commands

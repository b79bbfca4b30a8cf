#include <cmath>
#include <fmt/format.h>

#include "base/stopwatch.h"
#include "base/text.h"
#include "commands/inference.h"
#include "models/models.h"
#include "tensor/random.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kCheckSequences = 8, kCheckLength = 32;

/// Logits behind random sequences of 1, 5, ... tokens, [sequences * vocab].
std::vector<float> check_logits(const std::string& path, Session& session) {
  OpenModel opened = open_model(path, session);
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
  const Difference found =
      difference(check_logits(command.checkpoint, session), check_logits(command.out, session));
  session.log.info("check: logits of {} and {} differ by at most {:.3g}, {:.3g} on average",
                   command.checkpoint, command.out, found.largest, found.mean);
  const bool must_be_equal = !command.dtype;
  if (must_be_equal && found.largest != 0) {
    throw cluster::AgreedError(ExitCode::failure,
                               "check: tensors were exported as they are stored, and yet the logits differ");
  }
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
  OpenModel opened = open_model(command.checkpoint, session);
  const auto weights = cluster.together(
      "open the weights", [&] { return opened.source.weights(models::parameter_table(opened.config)); });
  hub::write_folder(*weights, opened.source.files(), settings, cluster);
  session.log.info("exported {} to {} ({})", command.checkpoint, command.out, seconds_text(watch.seconds()));
  if (command.check == ExportCommand::Check::compare_logits) compare(command, session);
  return ExitCode::done;
}

}  // namespace moebius::commands

#include "training/datasets.h"

#include <fmt/format.h>
#include <numeric>

#include "base/stopwatch.h"
#include "base/text.h"
#include "data/batch/synthetic.h"
#include "job/write.h"
#include "training/encoded_files.h"

namespace moebius::training {
namespace {

/// Everything that decides the tokens of a row, as text.
std::string encoding_key(const job::Job& job, const TextTools& tools, const data::EncodeSettings& settings) {
  job::Job relevant;
  relevant.data = job.data;
  relevant.data.train = relevant.data.validation = {};
  relevant.data.validation_fraction = 0;
  relevant.data.packing = relevant.data.shuffle = true;
  return fmt::format("{}\n{}\n{}\n{:016x}\n{}\n{}\n{}", job::write_job(relevant),
                     settings.system.value_or(""), settings.loss_scale.text(), tools.fingerprint,
                     tools.model.model_type, tools.model.chat_template, tools.vocab);
}

/// Samples of all files side by side, with the numbers of those that a list of file names asks for.
class Collector {
 public:
  Collector(const job::Job& job, const TextTools& tools, cluster::Cluster& cluster, const Log& log)
      : job_(job),
        tools_(tools),
        cluster_(cluster),
        log_(log),
        rows_(data::row_settings(job.data)),
        encoder_(cluster.together("read the template", [&] { return make_encoder(job, tools); })),
        key_(encoding_key(job, tools, encoder_.settings())),
        files_(std::filesystem::path(job.general.output) / "cache", cluster) {}

  [[nodiscard]] data::Split take(const std::string& text, double validation_fraction) {
    const auto name =
        cluster_.together("read the data's names", [&] { return data::parse_dataset_name(text); });
    const std::int64_t begin = samples->count();
    const std::int64_t limit = name.is_synthetic() ? 0 : name.limit;
    samples->add(name.is_synthetic() ? synthetic(name) : encoded(name));
    const data::SamplingSeed seed{job_.general.seed, dataset_++};
    data::Split split = cluster_.together("draw the rows", [&] {
      return data::draw(samples->count() - begin, limit, validation_fraction, order(), seed);
    });
    for (auto* list : {&split.train, &split.validation}) {
      for (std::int64_t& index : *list) index += begin;
    }
    return split;
  }

  [[nodiscard]] data::Packs pack(std::vector<std::int64_t> chosen) const {
    if (job_.data.shuffle) {
      const auto order = data::permutation(std::int64_t(chosen.size()), job_.general.seed, 0);
      std::vector<std::int64_t> shuffled(chosen.size());
      for (std::size_t i = 0; i < chosen.size(); ++i) shuffled[i] = chosen[std::size_t(order[i])];
      chosen = std::move(shuffled);
    }
    if (!job_.data.packing) return data::unpacked(chosen);
    std::vector<std::int64_t> lengths(chosen.size());
    for (std::size_t i = 0; i < chosen.size(); ++i) lengths[i] = samples->length(chosen[i]);
    return data::packed_best_fit(chosen, lengths, job_.data.max_length);
  }

  void finish() { files_.remove_others(); }

  std::unique_ptr<data::JoinedSamples> samples = std::make_unique<data::JoinedSamples>();

 private:
  [[nodiscard]] data::Order order() const {
    return job_.data.shuffle ? data::Order::shuffled : data::Order::as_in_file;
  }

  [[nodiscard]] std::unique_ptr<data::SampleSource> synthetic(const data::DatasetName& name) const {
    return std::make_unique<data::SyntheticSamples>(
        data::SyntheticSamples::Shape{.count = std::max<std::int64_t>(name.limit, 1),
                                      .length = job_.data.max_length,
                                      .vocab = tools_.vocab},
        job_.general.seed);
  }

  [[nodiscard]] std::unique_ptr<data::SampleSource> encoded(const data::DatasetName& name) {
    const Stopwatch watch;
    EncodedFile file = files_.open(name.path, {.rows = rows_, .encoder = encoder_, .key = key_});
    log_.info("data: {}: {} of {} rows usable ({})", name.path, file.samples->count(), file.report.rows,
              seconds_text(watch.seconds()));
    for (const std::string& line : file.report.dropped.lines({name.path})) log_.warning("data: {}", line);
    cluster_.together("count the rows", [&] {
      if (file.samples->count() > 0) return;
      if (file.report.rows == 0) throw InputError(name.path + ": there is no row in this file");
      throw InputError(fmt::format("{}: none of its {} rows can be used: {}; `moebius render` shows each",
                                   name.path, file.report.rows,
                                   join(file.report.dropped.lines({name.path}))));
    });
    return std::move(file.samples);
  }

  const job::Job& job_;
  const TextTools& tools_;
  cluster::Cluster& cluster_;
  const Log& log_;
  data::RowSettings rows_;
  data::Encoder encoder_;
  std::string key_;
  EncodedFiles files_;
  std::uint32_t dataset_ = 0;
};

void report(const char* what, const data::Packs& packs, const data::SampleSource& samples, const Log& log) {
  std::int64_t tokens = 0, longest = 0;
  for (const std::int64_t sample : packs.samples) {
    tokens += samples.length(sample);
    longest = std::max(longest, samples.length(sample));
  }
  const auto count = std::int64_t(packs.samples.size());
  log.info("data: {}: {} samples, {} tokens (mean {:.1f}, longest {}), {} packs", what, count, tokens,
           double(tokens) / double(std::max<std::int64_t>(count, 1)), longest, packs.count());
}

}  // namespace

data::Encoder make_encoder(const job::Job& job, const TextTools& tools) {
  data::EncodeSettings settings = data::encode_settings(job, tools.model);
  settings.vocabulary = tools.vocab;
  return {tools.tokenizer, std::move(settings), tools.words};
}

Datasets prepare_datasets(const job::Job& job, const TextTools& tools, cluster::Cluster& cluster,
                          const Log& log) {
  const cluster::Phase phase(cluster.watchdog(), "data");
  Collector collector(job, tools, cluster, log);
  std::vector<std::int64_t> train, validation;
  for (const std::string& name : job.data.train) {
    const data::Split split = collector.take(name, job.data.validation_fraction);
    train.insert(train.end(), split.train.begin(), split.train.end());
    validation.insert(validation.end(), split.validation.begin(), split.validation.end());
  }
  for (const std::string& name : job.data.validation) {
    const data::Split split = collector.take(name, 0);
    validation.insert(validation.end(), split.train.begin(), split.train.end());
  }
  collector.finish();
  Datasets datasets{nullptr, collector.pack(std::move(train)), collector.pack(std::move(validation))};
  datasets.samples = std::move(collector.samples);
  report("training", datasets.train, *datasets.samples, log);
  if (datasets.validation.count() > 0) report("validation", datasets.validation, *datasets.samples, log);
  return datasets;
}

}  // namespace moebius::training

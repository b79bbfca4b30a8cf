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
  relevant.objective.kind = job.objective.kind;
  const bool has_date = settings.style != nullptr && settings.style->writes_date();
  return fmt::format("{}\n{}\n{}\n{:016x}\n{}\n{}\n{}\n{}", job::write_job(relevant),
                     settings.system.value_or(""), settings.loss_scale.text(), tools.fingerprint,
                     tools.model.model_type, tools.model.chat_template, tools.vocab,
                     has_date ? settings.date : "");
}

/// Samples of all files side by side, with the numbers of those that a list of file names asks for.
class Collector {
 public:
  Collector(const job::Job& job, const TextTools& tools, cluster::Cluster& cluster, const Log& log)
      : job_(job),
        tools_(tools),
        cluster_(cluster),
        log_(log),
        rows_(data::row_settings(job)),
        encoder_(cluster.together("read the template", [&] { return make_encoder(job, tools); })),
        key_(encoding_key(job, tools, encoder_.settings())),
        files_(std::filesystem::path(job.general.output) / "cache", cluster) {}

  [[nodiscard]] data::Split take(const std::string& text, double validation_fraction) {
    const auto name =
        cluster_.together("read the data's names", [&] { return data::parse_dataset_name(text); });
    const std::int64_t begin = samples->count();
    const std::int64_t limit = name.is_synthetic() ? 0 : name.limit;
    if (name.is_synthetic()) {
      samples->add(synthetic(name));
    } else {
      add_files(name.path);
    }
    const data::SamplingSeed seed{job_.general.seed, dataset_++};
    const bool in_parts = job_.data.truncation == job::Truncation::split && !name.is_synthetic();
    return cluster_.together("draw the rows", [&] {
      if (in_parts) return parts_of_drawn(limit, validation_fraction, seed);
      data::Split split = data::draw(samples->count() - begin, limit, validation_fraction, order(), seed);
      for (auto* list : {&split.train, &split.validation}) {
        for (std::int64_t& index : *list) index += begin;
      }
      return split;
    });
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
  [[nodiscard]] std::string key() const {
    return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", files_.key(), join(job_.data.train),
                       join(job_.data.validation), job_.general.seed, job_.data.max_length, tools_.vocab);
  }

  std::unique_ptr<data::JoinedSamples> samples = std::make_unique<data::JoinedSamples>();

 private:
  [[nodiscard]] data::Order order() const {
    return job_.data.shuffle ? data::Order::shuffled : data::Order::as_in_file;
  }

  /// Whole rows are drawn, so that no text has parts on both sides of a split.
  [[nodiscard]] data::Split parts_of_drawn(std::int64_t limit, double validation_fraction,
                                           data::SamplingSeed seed) {
    const auto rows = std::int64_t(row_starts_.size());
    row_starts_.push_back(samples->count());
    data::Split split = data::draw(rows, limit, validation_fraction, order(), seed);
    for (auto* list : {&split.train, &split.validation}) *list = data::samples_of_rows(*list, row_starts_);
    row_starts_.clear();
    return split;
  }

  void note_rows(const data::SampleStore& store) {
    if (job_.data.truncation != job::Truncation::split) return;
    for (std::int64_t i = 0; i < store.count(); ++i) {
      if (i == 0 || store.row(i) != store.row(i - 1)) row_starts_.push_back(samples->count() + i);
    }
  }

  [[nodiscard]] std::unique_ptr<data::SampleSource> synthetic(const data::DatasetName& name) const {
    return std::make_unique<data::SyntheticSamples>(
        data::SyntheticSamples::Shape{.count = std::max<std::int64_t>(name.limit, 1),
                                      .length = job_.data.max_length,
                                      .vocab = tools_.vocab,
                                      .sequences = rows_.answers == data::Answers::pair ? 2 : 1},
        job_.general.seed);
  }

  /// The samples of the files that `path` means, one after the other: they are one dataset.
  void add_files(const std::string& path) {
    const std::vector<std::string> names = files_of(path, cluster_);
    const std::int64_t before = samples->count();
    data::ShareReport all;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Stopwatch watch;
      EncodedFile file = files_.open(names[i], {.rows = rows_, .encoder = encoder_, .key = key_});
      const std::int64_t usable = file.report.rows - file.report.dropped.total();
      const bool in_parts = file.samples->count() > usable;
      log_.info("data: {}: {} of {} rows usable{} ({})", names[i], usable, file.report.rows,
                in_parts ? fmt::format(", in {} samples", file.samples->count()) : "",
                seconds_text(watch.seconds()));
      for (const std::string& line : file.report.dropped.lines({names[i]})) log_.warning("data: {}", line);
      for (auto& tally : file.report.dropped.tallies) tally.file = std::int64_t(i);
      all.add(file.report);
      note_rows(*file.samples);
      samples->add(std::move(file.samples));
    }
    cluster_.together("count the rows", [&] {
      if (samples->count() > before) return;
      const char* what = names.front() == path ? "this file" : "these files";
      if (all.rows == 0) throw InputError(fmt::format("{}: there is no row in {}", path, what));
      throw InputError(fmt::format("{}: none of its {} rows can be used: {}; `moebius render` shows each",
                                   path, all.rows, join(all.dropped.lines(names))));
    });
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
  std::vector<std::int64_t> row_starts_;  // of the dataset that is taken, where rows may make several samples
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

std::vector<std::string> files_of(const std::string& path, cluster::Cluster& cluster) {
  std::string names;  // one behind the other, each with a zero byte: no name has one
  cluster.on_first_rank("list the data files", [&] {
    for (const std::string& name : data::row_files(path)) names += name + '\0';
  });
  names = cluster.broadcast("data files", std::move(names));
  std::vector<std::string> list;
  for (std::size_t at = 0; at < names.size(); at += list.back().size() + 1)
    list.push_back(names.substr(at, names.find('\0', at) - at));
  return list;
}

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
  Datasets datasets{nullptr, collector.pack(std::move(train)), collector.pack(std::move(validation)),
                    collector.key()};
  datasets.samples = std::move(collector.samples);
  report("training", datasets.train, *datasets.samples, log);
  if (datasets.validation.count() > 0) report("validation", datasets.validation, *datasets.samples, log);
  return datasets;
}

}  // namespace moebius::training

#include <fmt/format.h>

#include "commands/job_model.h"
#include "commands/rows.h"
#include "data/rows/share.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kWindow = 64 * data::Share::kBlock;  // rows a collective write

/// Labels and weights as ms-swift shows them: weights null where they are 1 throughout.
std::string sample_text(const data::Sample& sample, const data::Tokenizer* tokenizer) {
  const std::string text =
      tokenizer == nullptr ? "null" : json_quoted(tokenizer->decode(sample.ids, data::SpecialTokens::keep));
  const std::string scale =
      sample.loss_scale.empty() ? "null" : fmt::format("[{}]", fmt::join(sample.loss_scale, ","));
  return fmt::format("{{\"text\":{},\"input_ids\":[{}],\"labels\":[{}],\"loss_scale\":{}}}", text,
                     fmt::join(sample.ids, ","), fmt::join(sample.labels, ","), scale);
}

std::string row_text(const data::Encoded& encoded, const data::Tokenizer* tokenizer) {
  if (const auto* sample = std::get_if<data::Sample>(&encoded)) return sample_text(*sample, tokenizer);
  return fmt::format("{{\"dropped\":{}}}", json_quoted(std::get<data::Dropped>(encoded).text()));
}

/// Shows one file after the other; numbers run on, so that rows of all files keep their order.
class Renderer {
 public:
  Renderer(const data::Encoder& encoder, const data::RowSettings& settings, const data::Tokenizer* tokenizer,
           Session& session)
      : encoder_(encoder),
        settings_(settings),
        tokenizer_(tokenizer),
        session_(session),
        share_{session.cluster.rank(), session.cluster.size()} {}

  void show(const std::string& name, std::int64_t limit, RowOutput& output) {
    auto& cluster = session_.cluster;
    const auto path =
        cluster.together("read the data's names", [&] { return data::parse_dataset_name(name); }).path;
    for (const std::string& each : training::files_of(path, cluster)) show_file(each, limit, output);
  }

  /// What was left out of all files, by reason.
  void tell_dropped() {
    data::DropCounts total;
    for (const std::string& text : session_.cluster.all_gather("left out", dropped_.text())) {
      total.add(data::DropCounts::from_text(text));
    }
    for (const std::string& line : total.lines(files_)) session_.log.warning("data: {}", line);
  }

 private:
  void show_file(const std::string& path, std::int64_t limit, RowOutput& output) {
    auto& cluster = session_.cluster;
    const auto file = cluster.together("open " + path, [&] { return std::make_unique<data::RowFile>(path); });
    data::RowReader reader(*file);
    auto parser = cluster.together("open " + path, [&] { return data::RowParser(*file, settings_); });
    bool is_open = true;
    while (is_open) {
      std::vector<RowOutput::Row> rows;
      cluster.together("render", [&] { is_open = fill(reader, parser, limit, rows); });
      output.write(rows);
    }
    files_.push_back(path);
  }

  /// This rank's rows of the next window; false behind the last.
  bool fill(data::RowReader& reader, data::RowParser& parser, std::int64_t limit,
            std::vector<RowOutput::Row>& rows) {
    for (std::int64_t seen = 0; seen < kWindow; ++seen) {
      const auto row = reader.next();
      if (!row || row->number > limit) return false;
      const std::int64_t number = number_++;
      if (!share_.holds(number)) continue;
      const data::Encoded encoded = data::encode_row(*row, parser, encoder_);
      if (const auto* dropped = std::get_if<data::Dropped>(&encoded)) {
        dropped_.add(dropped->reason, std::int64_t(files_.size()), row->number);
      }
      rows.emplace_back(number, row_text(encoded, tokenizer_));
    }
    return true;
  }

  const data::Encoder& encoder_;
  const data::RowSettings& settings_;
  const data::Tokenizer* tokenizer_;
  Session& session_;
  data::Share share_;
  std::int64_t number_ = 0;  // rows of all files so far
  std::vector<std::string> files_;
  data::DropCounts dropped_;
};

}  // namespace

ExitCode render(const RenderCommand& command, Session& session) {
  auto& cluster = session.cluster;
  const job::Job job = load_job(command.job, job::Purpose::render, session);
  const JobModel model = cluster.together("open the model", [&] { return open_job_model(job); });
  const training::TextTools& text = model.language->text();
  const data::Encoder encoder =
      cluster.together("read the template", [&] { return training::make_encoder(job, text); });
  const data::RowSettings rows = data::row_settings(job.data);

  RowOutput output(command.out, session);
  Renderer renderer(encoder, rows, text.tokenizer, session);
  for (const auto* files : {&job.data.train, &job.data.validation}) {
    for (const std::string& name : *files) {
      renderer.show(name, command.rows.value_or(std::numeric_limits<std::int64_t>::max()), output);
    }
  }
  renderer.tell_dropped();
  return ExitCode::done;
}

}  // namespace moebius::commands

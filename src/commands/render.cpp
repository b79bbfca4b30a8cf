#include <fmt/format.h>

#include "commands/job_model.h"
#include "commands/render_page.h"
#include "commands/rows.h"
#include "data/rows/share.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kWindow = 64 * data::Share::kBlock;  // rows a collective write
constexpr std::int64_t kRowsOfPage = 200;                   // of each file, unless --rows says otherwise
constexpr std::int64_t kOpenRows = 3;                       // of a page

/// Labels and weights as ms-swift shows them: weights null where they are 1 throughout.
std::string sequence_text(const data::SampleView& sample, const data::Tokenizer* tokenizer) {
  const std::string text =
      tokenizer == nullptr ? "null" : json_quoted(tokenizer->decode(sample.ids, data::SpecialTokens::keep));
  const std::string scale =
      sample.loss_scale.empty() ? "null" : fmt::format("[{}]", fmt::join(sample.loss_scale, ","));
  return fmt::format("{{\"text\":{},\"input_ids\":[{}],\"labels\":[{}],\"loss_scale\":{}}}", text,
                     fmt::join(sample.ids, ","), fmt::join(sample.labels, ","), scale);
}

std::string sample_text(const data::Sample& sample, const data::Tokenizer* tokenizer) {
  const std::vector<data::SampleView> sequences = sample.view().sequences();
  if (sequences.size() == 1) return sequence_text(sequences[0], tokenizer);
  return fmt::format("{{\"chosen\":{},\"rejected\":{}}}", sequence_text(sequences[0], tokenizer),
                     sequence_text(sequences[1], tokenizer));
}

std::string row_text(const data::Encoded& encoded, const data::Tokenizer* tokenizer) {
  if (const auto* sample = std::get_if<data::Sample>(&encoded)) return sample_text(*sample, tokenizer);
  if (const auto* parts = std::get_if<data::Parts>(&encoded)) {
    std::vector<std::string> texts;
    for (const data::Sample& part : parts->samples) texts.push_back(sample_text(part, tokenizer));
    return fmt::format("{{\"split\":[{}]}}", fmt::join(texts, ","));
  }
  return fmt::format("{{\"dropped\":{}}}", json_quoted(std::get<data::Dropped>(encoded).text()));
}

/// Shows one file after the other; numbers run on, so that rows of all files keep their order.
class Renderer {
 public:
  struct How {
    const data::Encoder& encoder;
    const data::RowSettings& settings;
    const data::Tokenizer* tokenizer;
    RenderPage* page;  // null: rows of JSON
  };
  Renderer(const How& how, Session& session)
      : how_(how), session_(session), share_{session.cluster.rank(), session.cluster.size()} {}

  void show(const std::string& name, std::int64_t limit, RowOutput& output) {
    auto& cluster = session_.cluster;
    const auto path =
        cluster.together("read the data's names", [&] { return data::parse_dataset_name(name); }).path;
    for (const std::string& each : training::files_of(path, cluster)) show_file(each, limit, output);
  }

  /// What was left out of all files, by reason. Collective.
  [[nodiscard]] std::vector<std::string> left_out() {
    data::DropCounts total;
    for (const std::string& text : session_.cluster.all_gather("left out", dropped_.text())) {
      total.add(data::DropCounts::from_text(text));
    }
    return total.lines(files_);
  }
  /// Rows of all files, those of other ranks and those left out among them.
  [[nodiscard]] std::int64_t rows() const { return number_; }

 private:
  void show_file(const std::string& path, std::int64_t limit, RowOutput& output) {
    auto& cluster = session_.cluster;
    const auto file = cluster.together("open " + path, [&] { return std::make_unique<data::RowFile>(path); });
    auto parser = cluster.together("open " + path, [&] { return data::RowParser(*file, how_.settings); });
    Source source{path, data::RowReader(*file), std::move(parser)};
    bool is_open = true;
    while (is_open) {
      std::vector<RowOutput::Row> rows;
      cluster.together("render", [&] { is_open = fill(source, limit, rows); });
      output.write(rows);
    }
    files_.push_back(path);
  }

  [[nodiscard]] std::string shown(const std::string& place, std::int64_t number,
                                  const data::Encoded& encoded) {
    if (how_.page == nullptr) return row_text(encoded, how_.tokenizer);
    const auto fold = number < kOpenRows ? RenderPage::Fold::open : RenderPage::Fold::closed;
    const auto* parts = std::get_if<data::Parts>(&encoded);
    if (parts == nullptr) return how_.page->row(place, encoded, fold);
    std::vector<std::string> rows;
    for (const data::Sample& part : parts->samples)
      rows.push_back(how_.page->row(fmt::format("{} part {}", place, rows.size() + 1), part, fold));
    return fmt::format("{}", fmt::join(rows, "\n"));
  }

  /// This rank's rows of the next window; false behind the last.
  struct Source {
    std::string path;
    data::RowReader reader;
    data::RowParser parser;
  };
  bool fill(Source& source, std::int64_t limit, std::vector<RowOutput::Row>& rows) {
    for (std::int64_t seen = 0; seen < kWindow; ++seen) {
      const auto row = source.reader.next();
      if (!row || row->number > limit) return false;
      const std::int64_t number = number_++;
      if (!share_.holds(number)) continue;
      const data::Encoded encoded = data::encode_row(*row, source.parser, how_.encoder);
      if (const auto* dropped = std::get_if<data::Dropped>(&encoded)) {
        dropped_.add(dropped->reason, std::int64_t(files_.size()), row->number);
      }
      rows.emplace_back(number, shown(fmt::format("{}:{}", source.path, row->number), number, encoded));
    }
    return true;
  }

  How how_;
  Session& session_;
  data::Share share_;
  std::int64_t number_ = 0;  // rows of all files so far
  std::vector<std::string> files_;
  data::DropCounts dropped_;
};

/// One line, written by rank 0. Collective.
void write_line(std::string text, RowOutput& output, Session& session) {
  std::vector<RowOutput::Row> rows;
  if (session.cluster.rank() == 0) rows.emplace_back(0, std::move(text));
  output.write(rows);
}

}  // namespace

ExitCode render(const RenderCommand& command, Session& session) {
  auto& cluster = session.cluster;
  const job::Job job = load_job(command.job, job::Purpose::render, session);
  const JobModel model = cluster.together("open the model", [&] { return open_job_model(job); });
  const training::TextTools& text = model.language->text();
  const data::Encoder encoder =
      cluster.together("read the template", [&] { return training::make_encoder(job, text); });
  const data::RowSettings rows = data::row_settings(job);

  const bool is_page = !command.html.empty();
  const std::int64_t limit =
      command.rows.value_or(is_page ? kRowsOfPage : std::numeric_limits<std::int64_t>::max());
  RowOutput output(is_page ? command.html : command.out, session);
  RenderPage page(text.tokenizer);
  Renderer renderer({encoder, rows, text.tokenizer, is_page ? &page : nullptr}, session);
  if (is_page) write_line(RenderPage::head(job), output, session);
  for (const auto* files : {&job.data.train, &job.data.validation}) {
    for (const std::string& name : *files) renderer.show(name, limit, output);
  }
  const std::vector<std::string> left_out = renderer.left_out();
  for (const std::string& line : left_out) session.log.warning("data: {}", line);
  if (is_page) {
    RenderPage all(text.tokenizer);
    for (const std::string& counts : cluster.all_gather("tokens of each weight", page.counts()))
      all.add_counts(counts);
    write_line(all.tail({.shown = renderer.rows(), .left_out = left_out, .limit = limit}), output, session);
  }
  return ExitCode::done;
}

}  // namespace moebius::commands

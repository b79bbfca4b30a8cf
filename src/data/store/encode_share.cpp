#include "data/store/encode_share.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <fmt/format.h>
#include <omp.h>

namespace moebius::data {
namespace {

constexpr std::size_t kAtOnce = 4096;  // rows encoded before they are written

/// Encodes rows on all threads; each thread has a parser of its own.
class Crew {
 public:
  explicit Crew(const ShareOfFile& work) : encoder_(work.encoder) {
    for (int thread = 0; thread < omp_get_max_threads(); ++thread)
      parsers_.emplace_back(work.file, work.settings);
  }

  [[nodiscard]] std::vector<Encoded> encode(const std::vector<RawRow>& rows) {
    std::vector<Encoded> encoded(rows.size());
    std::vector<std::exception_ptr> errors(rows.size());
    const auto count = std::int64_t(rows.size());
#pragma omp parallel for schedule(dynamic, 16)
    for (std::int64_t i = 0; i < count; ++i) {
      try {
        RowParser& parser = parsers_[std::size_t(omp_get_thread_num())];
        encoded[std::size_t(i)] = encode_row(rows[std::size_t(i)], parser, encoder_);
      } catch (
          ...) {  // must not leave the parallel region; the first in the order of the rows is thrown below
        errors[std::size_t(i)] = std::current_exception();
      }
    }
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
    return encoded;
  }

 private:
  const Encoder& encoder_;
  std::vector<RowParser> parsers_;
};

}  // namespace

std::string ShareReport::text() const {
  return fmt::format("{}\n{}", rows, dropped.text());
}

ShareReport ShareReport::from_text(std::string_view text) {
  ShareReport report;
  const std::size_t line_end = std::min(text.find('\n'), text.size());
  std::from_chars(text.data(), text.data() + line_end, report.rows);
  report.dropped = DropCounts::from_text(text.substr(line_end));
  return report;
}

void ShareReport::add(const ShareReport& other) {
  rows += other.rows;
  dropped.add(other.dropped);
}

ShareReport encode_share(const ShareOfFile& work, SampleWriter& writer) {
  ShareReport report;
  Crew crew(work);
  std::vector<RawRow> waiting;
  const auto flush = [&] {
    const std::vector<Encoded> encoded = crew.encode(waiting);
    for (std::size_t i = 0; i < encoded.size(); ++i) {
      const std::int64_t row = waiting[i].number;
      if (const auto* sample = std::get_if<Sample>(&encoded[i])) {
        writer.add(row - 1, sample->view());
      } else if (const auto* parts = std::get_if<Parts>(&encoded[i])) {
        for (const Sample& part : parts->samples) writer.add(row - 1, part.view());
      } else {
        report.dropped.add(std::get<Dropped>(encoded[i]).reason, 0, row);
      }
    }
    waiting.clear();
  };
  RowReader reader(work.file, work.share);
  while (const std::optional<RawRow> row = reader.next()) {
    waiting.push_back(*row);
    ++report.rows;
    if (waiting.size() == kAtOnce) flush();
  }
  flush();
  return report;
}

}  // namespace moebius::data

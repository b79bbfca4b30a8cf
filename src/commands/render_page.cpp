#include "commands/render_page.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <sstream>

#include "data/batch/sample.h"
#include "data/tokenizer/unicode.h"

namespace moebius::commands {
namespace {

constexpr std::size_t kMostPartsOfACharacter = 4;  // UTF-8 has no more bytes
constexpr std::size_t kPreview = 160;              // bytes

constexpr std::string_view kStyle = R"(
:root { color-scheme: light }
body { display: flex; flex-direction: column; margin: 0 auto; max-width: 70rem; padding: 1rem;
       font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff }
header, #summary { order: -1 }
h1 { font-size: 1.3rem; margin: 0 }
h2 { font-size: 1rem; margin: .5rem 0 0 }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { padding: .1rem .8rem .1rem 0; text-align: left; vertical-align: top }
.number { text-align: right; font-variant-numeric: tabular-nums }
button { font: inherit; margin-right: .5rem }
.row { border-top: 1px solid #d0d7de; padding: .3rem 0 }
.row > summary { cursor: pointer; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.row > summary span { color: #59636e }
.out { color: #9a1c1c }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; padding: .6rem; background: #f6f8fa;
      font: 14px/1.7 ui-monospace, monospace }
pre b { font-weight: normal; border-radius: 2px; box-shadow: inset 1px 0 #0003; padding: .1em 0 .1em 1px }
i { font-style: normal; opacity: .55 }
)";

constexpr std::string_view kScript =
    "function fold(open){for(const row of document.querySelectorAll('details.row'))row.open=open}";

/// Code points that take no room or turn the text around: a reader must see that they are there.
bool is_invisible(char32_t code) {
  return code == 0xad || code == 0x61c || code == 0x180e || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0x80 && code <= 0xa0);
}

std::size_t length_of(unsigned char first) {
  if (first < 0x80) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

std::string character(std::string_view utf8) {
  const char first = utf8.front();
  if (first == '<') return "&lt;";
  if (first == '>') return "&gt;";
  if (first == '&') return "&amp;";
  if (first == '"') return "&quot;";
  if (first == '\'') return "&#39;";
  if (first == '\n') return "<i>\u23ce</i>\n";
  if (first == '\t') return "<i>\u21e5</i>\t";
  const char32_t code = data::first_code_point(utf8);
  if (code < 0x20 || code == 0x7f || is_invisible(code))
    return fmt::format("<i>[U+{:04X}]</i>", std::uint32_t(code));
  return std::string(utf8);
}

/// "0.5" -> "w0_5": the class of tokens of that weight.
std::string class_of(std::string weight) {
  if (weight == "-") return "no";
  std::replace_if(
      weight.begin(), weight.end(), [](char letter) { return letter == '.' || letter == '+'; }, '_');
  return "w" + weight;
}

/// Green for 1, paler below, towards red above.
std::string colour_of(double weight) {
  if (weight <= 0) return "background: none; outline: 1px dashed #1a7f37";
  if (weight <= 1) return fmt::format("background: hsl(135 60% {:.0f}%)", 96 - 14 * weight);
  const double hue = std::max(0.0, 60 - 25 * std::log2(weight));
  return fmt::format("background: hsl({:.0f} 95% 72%)", hue);
}

std::string table_row(const std::string& name, const std::string& value) {
  return fmt::format("<tr><th>{}<td>{}", html_text(name), html_text(value));
}

}  // namespace

std::string html_text(std::string_view utf8) {
  const std::string whole = data::is_valid_utf8(utf8) ? std::string(utf8) : data::with_invalid_replaced(utf8);
  std::string text;
  for (std::size_t at = 0; at < whole.size();) {
    const std::size_t length = length_of(static_cast<unsigned char>(whole[at]));
    text += character(std::string_view(whole).substr(at, length));
    at += length;
  }
  return text;
}

std::string RenderPage::head(const job::Job& job) {
  const std::string title = job.general.name.empty() ? "data" : job.general.name;
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'\">\n<title>{0}: what the model sees</title>\n<style>{1}</style>\n"
      "<script>{2}</script>\n</head>\n<body>\n<header><h1>{0}: what the model sees</h1>\n<table>",
      html_text(title), kStyle, kScript);
  text += table_row("model", job.model.path.empty() ? job.model.tokenizer : job.model.path);
  text += table_row("data.template", job.data.template_name);
  text += table_row("data.loss_scale", job.data.loss_scale);
  text += table_row("data.max_length", fmt::format("{}", job.data.max_length));
  return text +
         "</table>\n<p><button onclick=\"fold(true)\">unfold all</button><button "
         "onclick=\"fold(false)\">fold "
         "all</button></p></header>";
}

std::string RenderPage::row(const std::string& place, const data::Encoded& encoded, Fold fold) {
  if (const auto* dropped = std::get_if<data::Dropped>(&encoded)) {
    return fmt::format("<div class=\"row out\">{} left out: {}</div>", html_text(place),
                       html_text(dropped->text()));
  }
  const data::SampleView sample = std::get<data::Sample>(encoded).view();
  const std::vector<data::SampleView> sequences = sample.sequences();
  std::string html = fmt::format(
      "<details class=\"row\"{}><summary>{} <span>{} tokens, {} trained \u00b7 {}</span></summary>",
      fold == Fold::open ? " open" : "", html_text(place), sample.ids.size(), data::trained_count(sample),
      preview(sequences.front()));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (sample.is_pair()) html += i == 0 ? "<h2>chosen</h2>" : "<h2>rejected</h2>";
    html += fmt::format("<pre>{}</pre>", tokens(sequences[i]));
  }
  return html + "</details>";
}

/// The end of the shortest group of tokens from `begin` on whose bytes are whole characters, and its text.
std::size_t RenderPage::group_end(const data::SampleView& sequence, std::size_t begin,
                                  std::string& text) const {
  std::string bytes;
  const std::size_t last = std::min(sequence.ids.size(), begin + kMostPartsOfACharacter);
  for (std::size_t end = begin; end < last;) {
    bytes += tokenizer_->bytes_of(sequence.ids[end++]);
    if (data::is_valid_utf8(bytes)) {
      text = bytes;
      return end;
    }
  }
  text = tokenizer_->bytes_of(sequence.ids[begin]);
  return begin + 1;
}

std::string RenderPage::tokens(const data::SampleView& sequence) {
  std::string html, text;
  std::size_t group_begin = 0, group = 0;  // the token's group of tokens that share a character, and its end
  for (std::size_t i = 0; i < sequence.ids.size(); ++i) {
    if (i == group) {
      group_begin = i;
      group = tokenizer_ == nullptr ? i + 1 : group_end(sequence, i, text);
    }
    const bool is_trained = i > 0 && sequence.labels[i] != data::kNotTrained;
    const std::string weight = !is_trained                   ? std::string(kUntrained)
                               : sequence.loss_scale.empty() ? "1"
                                                             : fmt::format("{}", sequence.loss_scale[i]);
    ++tokens_of_weight_[weight];
    std::string about = fmt::format("token {}, id {}, ", i, sequence.ids[i]);
    about += is_trained ? "weight " + weight : "not trained";
    if (is_trained && sequence.labels[i] != sequence.ids[i])
      about += fmt::format(", label {}", sequence.labels[i]);
    std::string shown = tokenizer_ == nullptr ? fmt::format("{} ", sequence.ids[i]) : html_text(text);
    if (i > group_begin) shown = "<i>\u25c2</i>", about += ", part of the character before";
    html += fmt::format("<b class=\"{}\" title=\"{}\">{}</b>", class_of(weight), about, shown);
  }
  return html;
}

/// The beginning of what is said, without special tokens, on one line.
std::string RenderPage::preview(const data::SampleView& sequence) const {
  if (tokenizer_ == nullptr) return "";
  std::string text = tokenizer_->decode(sequence.ids, data::SpecialTokens::skip);
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() <= kPreview) return html_text(text);
  std::size_t cut = kPreview;
  while ((static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;  // within a character
  return html_text(text.substr(0, cut)) + "\u2026";
}

std::string RenderPage::counts() const {
  std::string text;
  for (const auto& [weight, tokens] : tokens_of_weight_) text += fmt::format("{} {}\n", weight, tokens);
  return text;
}

void RenderPage::add_counts(const std::string& text) {
  std::istringstream lines(text);
  std::string weight;
  std::int64_t tokens = 0;
  while (lines >> weight >> tokens) tokens_of_weight_[weight] += tokens;
}

std::string RenderPage::tail(const Summary& summary) const {
  std::string style = ".no { color: #59636e }\n", legend;
  for (const auto& [weight, tokens] : tokens_of_weight_) {
    const bool is_trained = weight != kUntrained;
    if (is_trained)
      style +=
          fmt::format(".{} {{ {} }}\n", class_of(weight), colour_of(std::strtod(weight.c_str(), nullptr)));
    legend += fmt::format("<tr><td><b class=\"{}\">&nbsp;{}&nbsp;</b><td class=\"number\">{}<td>tokens",
                          class_of(weight), is_trained ? "trained, weight " + weight : "not trained", tokens);
  }
  std::string left_out;
  for (const std::string& line : summary.left_out)
    left_out += fmt::format("<p class=\"out\">{}</p>\n", html_text(line));
  if (summary.left_out.empty()) left_out = "<p>No row of these is left out.</p>\n";
  return fmt::format(
      "<style>{}</style>\n<section id=\"summary\">\n<p>{} rows: the first {} of each file, in its order, "
      "before "
      "shuffling and packing (--rows N shows N).</p>\n<table>{}</table>\n"
      "<p>Marks: <i>\u23ce</i> line end, <i>\u21e5</i> tab, <i>\u25c2</i> a token that is part of the "
      "character before "
      "it, <i>[U+200B]</i> a character that does not show.</p>\n{}</section>\n</body>\n</html>",
      style, summary.shown, summary.limit, legend, left_out);
}

}  // namespace moebius::commands

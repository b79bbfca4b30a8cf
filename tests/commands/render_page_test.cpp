#include "commands/render_page.h"

#include "data/tokenizer/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/repository.h"

using namespace moebius;
using namespace moebius::commands;

namespace {

data::Tokenizer bytes_and_merges() {
  return data::Tokenizer::load(test::repository() / "jobs/quickstart");
}

std::int64_t count(const std::string& text, const std::string& part) {
  std::int64_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("what HTML would take for itself and what does not show is marked", "[commands][page]") {
  CHECK(html_text("<b a=\"x\" b='y'>&amp;") == "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;");
  CHECK(html_text("a\n\tb\r") == "a<i>\u23ce</i>\n<i>\u21e5</i>\tb<i>[U+000D]</i>");
  CHECK(html_text("数\u200b\u202e\u00a0é🙂") == "数<i>[U+200B]</i><i>[U+202E]</i><i>[U+00A0]</i>é🙂");
  CHECK(html_text("a\xff\xe6\x95") == "a\ufffd\ufffd");
  CHECK(html_text("").empty());
}

TEST_CASE("tokens have the class of their weight and tell their id", "[commands][page]") {
  RenderPage page(nullptr);
  const data::Sample sample{.ids = {7, 8, 9, 10}, .labels = {-100, 8, 9, 11}, .loss_scale = {0, 0.5, 2, 1}};
  const std::string html = page.row("a<b.jsonl:3", sample, RenderPage::Fold::open);
  CHECK(html.starts_with("<details class=\"row\" open><summary>a&lt;b.jsonl:3 <span>4 tokens, 3 trained "));
  CHECK(count(html, "<b class=\"no\" title=\"token 0, id 7, not trained\">7 </b>") == 1);
  CHECK(count(html, "<b class=\"w0_5\" title=\"token 1, id 8, weight 0.5\">8 </b>") == 1);
  CHECK(count(html, "<b class=\"w2\" title=\"token 2, id 9, weight 2\">9 </b>") == 1);
  CHECK(count(html, "<b class=\"w1\" title=\"token 3, id 10, weight 1, label 11\">10 </b>") == 1);
  CHECK(page.counts() == "- 1\n0.5 1\n1 1\n2 1\n");
  page.add_counts("2 5\n4 1\n");
  CHECK(page.counts() == "- 1\n0.5 1\n1 1\n2 6\n4 1\n");
  const std::string tail = page.tail({.shown = 1, .left_out = {"2 rows left out: a < b"}, .limit = 200});
  CHECK(count(tail, "2 rows left out: a &lt; b") == 1);
  for (const char* style : {".no {", ".w0_5 {", ".w1 {", ".w2 {", ".w4 {"}) CHECK(count(tail, style) == 1);
  CHECK(page.row("a:4", data::Dropped{data::DropReason::unknown_role, "'<x>'"}, RenderPage::Fold::closed) ==
        "<div class=\"row out\">a:4 left out: unknown role: &#39;&lt;x&gt;&#39;</div>");
}

TEST_CASE("a pair shows both of its answers, each with places of its own", "[commands][page]") {
  RenderPage page(nullptr);
  const data::Sample pair{
      .ids = {7, 8, 7, 9, 6}, .labels = {-100, 8, -100, 9, 6}, .loss_scale = {}, .rejected_begin = 2};
  const std::string html = page.row("a:1", pair, RenderPage::Fold::closed);
  CHECK(count(html, "<span>5 tokens, 3 trained ") == 1);
  CHECK(count(html, "<h2>chosen</h2><pre><b class=\"no\" title=\"token 0, id 7, not trained\">") == 1);
  CHECK(count(html, "<h2>rejected</h2><pre><b class=\"no\" title=\"token 0, id 7, not trained\">") == 1);
  CHECK(count(html, "title=\"token 2, id 6, weight 1\"") == 1);
  CHECK(page.counts() == "- 2\n1 3\n");
}

TEST_CASE("tokens that share a character show it once, whatever their bytes are", "[commands][page]") {
  const data::Tokenizer tokenizer = bytes_and_merges();
  RenderPage page(&tokenizer);
  data::Sample sample{.ids = tokenizer.encode("x🙂\n")};
  sample.labels = sample.ids;
  REQUIRE(sample.ids.size() >= 4);
  const std::string html = page.row("a:1", sample, RenderPage::Fold::closed);
  CHECK(count(html, "🙂") == 2);  // in the preview and in the tokens
  CHECK(count(html, "\ufffd") == 0);
  CHECK(count(html, "part of the character before") == std::int64_t(sample.ids.size()) - 3);
  CHECK(count(html, "<b ") == std::int64_t(sample.ids.size()));
  sample.ids.resize(2), sample.labels.resize(2);  // cut within the character
  CHECK(count(page.row("a:1", sample, RenderPage::Fold::closed), ">\ufffd</b>") == 1);
}

TEST_CASE("the page asks for nothing but itself", "[commands][page]") {
  job::Job job;
  job.general.name = "<name>";
  const std::string head = RenderPage::head(job);
  CHECK(count(head, "default-src 'none'") == 1);
  CHECK(count(head, "http:") + count(head, "https:") + count(head, "src=") + count(head, "url(") == 0);
  CHECK(count(head, "&lt;name&gt;") == 2);
}

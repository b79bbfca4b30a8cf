#include "data/template/loss_scale.h"

#include <fmt/format.h>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

Written answer(const std::string& text, Question question = {}) {
  Written written;
  written.contexts.push_back({ContextKind::other, true, 0, {.text = "ask "}});
  written.contexts.push_back({ContextKind::response, true, 0, {.text = text}});
  written.contexts.push_back({ContextKind::suffix, true, 0, {.text = "<end>"}});
  written.questions.push_back(std::move(question));
  return written;
}

/// "0:ask |2:Action:|..." of the pieces that an answer falls into.
std::string split(const std::string& scale, const Written& written) {
  std::string text;
  for (const Piece& piece : join_equals(weigh(parse_loss_scale(scale), written))) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : "|", piece.weight, piece.text);
  }
  return text;
}
std::string split(const std::string& scale, const std::string& text) {
  return split(scale, answer(text));
}

}  // namespace

TEST_CASE("words weigh, and what follows them", "[data][loss_scale]") {
  CHECK(split("react", "hm\nAction: f\nAction Input: 1\nObservation:42") ==
        "0:ask |1:hm\n|2:Action: f\nAction Input: 1\nObservation:|0:42|1:<end>");
  CHECK(split("react", "Next: Thought: x") == "0:ask |1:Next: Thought: x<end>");
  CHECK(split("alpha_umi", "Next: Thought: x") == "0:ask |2:Next: |1:Thought: x<end>");
  CHECK(split("qwen", "✿FUNCTION✿: f✿RESULT✿: r✿RETURN✿: s") ==
        "0:ask |2:✿FUNCTION✿: f✿RESULT✿:|0: r|1:✿RETURN✿: s<end>");
}

TEST_CASE("patterns weigh what they match, each part judged at its front", "[data][loss_scale]") {
  CHECK(split("hermes", "a<tool_call>\nb\n</tool_call>\n<tool_call>c</tool_call>") ==
        "0:ask |1:a|2:<tool_call>\nb\n</tool_call>|1:\n|2:<tool_call>c</tool_call>|1:<end>");
  CHECK(split("ignore_empty_think", "<think>\n\n</think>\n\nr") == "0:ask <think>\n\n</think>\n\n|1:r<end>");
  CHECK(split("ignore_empty_think", "<think>t</think>r") == "0:ask |1:<think>t</think>r<end>");
  // What follows an empty thought is judged anew, so a second one takes the whole answer with it.
  CHECK(split("ignore_empty_think", "</think><think></think>r") == "0:ask </think><think></think>r|1:<end>");
  // White space of Python's str: the ideographic and the unit separator too.
  CHECK(split("ignore_empty_think", "<think>\u3000\x1f</think>\u00a0r") ==
        "0:ask <think>\u3000\x1f</think>\u00a0|1:r<end>");
  CHECK(split("ignore_think_prefix", "<think>\nt</think>r") == "0:ask <think>\n|1:t</think>r<end>");
}

TEST_CASE("scales of a chain split one another's pieces, and weights multiply", "[data][loss_scale]") {
  CHECK(split("hermes+ignore_empty_think", "<think></think>a<tool_call>b</tool_call><think></think>c") ==
        "0:ask <think></think>|1:a|2:<tool_call>b</tool_call>|0:<think></think>|1:c<end>");
  CHECK(split("react+react", "Action: f") == "0:ask |4:Action:|2: f|1:<end>");
  CHECK(split("all+hermes", "a") == "1:ask a<end>");
}

TEST_CASE("flags of a message: trained or not, and one weight without splitting", "[data][loss_scale]") {
  Written written = answer("Action: f");
  written.contexts[1].segment.loss = false;
  CHECK(split("react", written) == "0:ask Action: f|1:<end>");
  written.contexts[1].segment = {.text = "Action: f", .loss = {}, .loss_scale = 0.5};
  CHECK(split("react", written) == "0:ask |0.5:Action: f|1:<end>");
  written.contexts[1].segment.loss = true;
  written.contexts[1].is_last_round = false;
  CHECK(split("last_round+react", written) == "0:ask |0.5:Action: f|1:<end>");
}

TEST_CASE("agentflan: the answer to some questions weighs 3 throughout", "[data][loss_scale]") {
  CHECK(split("agentflan", answer("Tool: f", {Speaker::user, {"So: What is the value of x?"}})) ==
        "0:ask |3:Tool: f|1:<end>");
  CHECK(split("agentflan", answer("Tool: f", {Speaker::user, {"why?"}})) == "0:ask |1:Tool:|3: f|1:<end>");
  // Of a tool's results the words must be one whole: ms-swift asks a list for membership there.
  CHECK(split("agentflan", answer("f", {Speaker::tool, {"What is the value of x?"}})) == "0:ask |1:f<end>");
  CHECK(split("agentflan", answer("f", {Speaker::tool, {"\n", "What is the value of"}})) ==
        "0:ask |3:f|1:<end>");
}

TEST_CASE("a table of the user's own", "[data][loss_scale]") {
  const test::TemporaryFolder folder;
  const std::string words = (folder / "words.toml").string();
  std::ofstream(words) << "[[words]]\ntext = \"Plan:\"\nweight = 1.5\nafter = 0.5\n"
                          "[[words]]\ntext = \"Do:\"\nweight = 1\nafter = 1\n";
  CHECK(split("default+" + words, "so Plan: think Do: it") ==
        "0:ask |1:so |1.5:Plan:|0.5: think |1:Do: it<end>");
  const std::string patterns = (folder / "patterns.toml").string();
  std::ofstream(patterns) << "[[patterns]]\npattern = '\\$.+?\\$'\nweight = 3\n";
  CHECK(split(patterns + "+" + words, "$x\ny$ Plan: $z$") ==
        "0:ask |3:$x\ny$|1: |1.5:Plan:|0.5: |3:$z$|1:<end>");
  CHECK_FALSE(parse_loss_scale(words).is_binary());
  CHECK(parse_loss_scale(words).text().find("Plan: 1.5 0.5") != std::string::npos);
  std::ofstream(patterns) << "[[patterns]]\npattern = 'a*'\nweight = 3\n";
  CHECK_THROWS_AS(parse_loss_scale(patterns), InputError);  // matches the empty text
  std::ofstream(patterns) << "[[patterns]]\npattern = '('\nweight = 3\n";
  CHECK_THROWS_AS(parse_loss_scale(patterns), InputError);
  CHECK_THROWS_AS(parse_loss_scale((folder / "absent.toml").string()), InputError);
}

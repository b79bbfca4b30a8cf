#include <fstream>
#include <string>

#include "base/error.h"
#include "data/encode/settings.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

namespace {

std::string automatic(const std::string& type, const std::string& chat_template) {
  return std::string(automatic_template({type, chat_template}).name);
}

job::Job job_with(const std::string& style) {
  job::Job job;
  job.file = "job.toml";
  job.data.template_name = style;
  return job;
}

/// What the settings of a job with `key` at job.toml:7:3 complain about.
std::string complaint(job::Job job, const std::string& key, const ModelText& model = {}) {
  job.places[key] = "job.toml:7:3";
  try {
    (void)encode_settings(job, model);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("auto tells the template from the model's config and chat template", "[data][encode]") {
  CHECK(automatic("qwen3_moe", "") == "qwen3");
  CHECK(automatic("qwen3", "<|im_start|> {%- if enable_thinking is false %}") == "qwen3");
  CHECK(automatic("qwen3_moe", R"({{- '<|im_start|>assistant\n<think>\n' }})") == "qwen3_thinking");
  CHECK(automatic("qwen3_moe", R"({{- '<|im_start|>assistant\n' }})") == "qwen3_nothinking");
  CHECK(automatic("qwen2", "") == "qwen2_5");
  CHECK(automatic("qwen2", "You are Qwen, created by Alibaba Cloud.") == "qwen2_5");
  CHECK_THROWS_AS(automatic("qwen2", "<think>"), UsageError);                     // QwQ and others
  CHECK_THROWS_AS(automatic("qwen3_moe", "<|im_start|><function="), UsageError);  // Qwen3-Coder
  CHECK_THROWS_WITH(
      automatic("llama", ""),
      "data.template = \"auto\": no template built here fits the chat template of model_type "
      "\"llama\" (built: qwen2_5, qwen3, qwen3_thinking, qwen3_nothinking; name one of them if it is "
      "meant)");
}

TEST_CASE("a model's words come from its three files", "[data][encode]") {
  CHECK(model_text(R"({"model_type": "qwen2"})", "", "").model_type == "qwen2");
  CHECK(model_text("", R"({"chat_template": "t"})", "").chat_template == "t");
  CHECK(model_text("", R"({"chat_template": "t"})", "file").chat_template == "file");
  CHECK(model_text("", R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default",
                           "template": "d"}]})",
                   "")
            .chat_template == "d");
  CHECK_THROWS_AS(model_text("{", "", ""), InputError);
  CHECK_THROWS_WITH(model_text("", "[]", ""), "tokenizer_config.json: not a JSON object");
}

TEST_CASE("strategies and scales by name", "[data][encode]") {
  CHECK(parse_loss_scale("default").strategy == Strategy::every_answer);
  CHECK(parse_loss_scale("last_round").strategy == Strategy::last_round);
  CHECK(parse_loss_scale("all+base").strategy == Strategy::all);
  CHECK_FALSE(parse_loss_scale("all").ignore_empty_think);
  CHECK(parse_loss_scale("last_round+ignore_empty_think").ignore_empty_think);
  CHECK(parse_loss_scale("ignore_empty_think").strategy == Strategy::every_answer);
  CHECK_THROWS_AS(parse_loss_scale("hermes"), UsageError);
  CHECK_THROWS_AS(parse_loss_scale(""), UsageError);
  CHECK_THROWS_AS(parse_loss_scale("last_round+default"), UsageError);
}

TEST_CASE("what is not built is refused at its place", "[data][encode]") {
  CHECK(complaint(job_with("qwen3_nothink"), "data.template") ==
        "job.toml:7:3  data.template = \"qwen3_nothink\" is not built (built: auto, qwen2_5, qwen3, "
        "qwen3_thinking, qwen3_nothinking); did you mean \"qwen3_nothinking\"?");
  job::Job job = job_with("qwen3");
  job.data.agent_template = "react_en";
  CHECK(complaint(job, "data.agent_template") ==
        "job.toml:7:3  data.agent_template = \"react_en\" is not built (built: auto, hermes)");
  job = job_with("qwen3");
  job.data.loss_scale = "last_round+react";
  CHECK(complaint(job, "data.loss_scale") ==
        "job.toml:7:3  data.loss_scale = \"last_round+react\": the scale \"react\" is not built (built: "
        "default, "
        "last_round or all, and with any of them \"+ignore_empty_think\")");
}

TEST_CASE("settings without effect on the template are refused", "[data][encode]") {
  job::Job job = job_with("qwen2_5");
  job.data.disable_ignore_empty_think = true;
  CHECK(complaint(job, "data.disable_ignore_empty_think") ==
        "job.toml:7:3  data.disable_ignore_empty_think has no effect: no empty thought is ignored by itself "
        "with "
        "template \"qwen2_5\"; remove it");
  job = job_with("qwen3_thinking");
  job.data.add_non_thinking_prefix = false;
  CHECK(complaint(job, "data.add_non_thinking_prefix") ==
        "job.toml:7:3  data.add_non_thinking_prefix has no effect: there is no such prefix in template "
        "\"qwen3_thinking\"; remove it");
}

TEST_CASE("auto without a template waits for the first row of text", "[data][encode]") {
  const EncodeSettings settings = encode_settings(job_with("auto"), {.model_type = "llama"});
  CHECK(settings.style == nullptr);
  CHECK(settings.style_problem.starts_with("job.toml  data.template = \"auto\": no template"));
  CHECK(encode_settings(job_with("auto"), {.model_type = "qwen3"}).loss_scale.ignore_empty_think);
}

TEST_CASE("a system text may be a file", "[data][encode]") {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "system.txt") << "Be\nkind.\\n";
  job::Job job = job_with("qwen3");
  job.data.system = (folder / "system.txt").string();
  CHECK(encode_settings(job, {}).system == "Be\nkind.\\n");
  job.data.system = "absent.txt";
  CHECK_THROWS_WITH(encode_settings(job, {}), "job.toml  data.system = \"absent.txt\" cannot be read");
}

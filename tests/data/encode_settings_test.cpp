#include <fstream>
#include <string>

#include "base/error.h"
#include "data/encode/settings.h"
#include "job/names.h"
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

TEST_CASE("pairs have no weights", "[data][encode]") {
  job::Job job = job_with("qwen3_nothinking");
  job.objective.kind = job::ObjectiveKind::dpo;
  job.data.loss_scale = "last_round";
  CHECK(encode_settings(job, {}).weights == Weights::on_or_off);
  CHECK(row_settings(job).answers == Answers::pair);
  job.data.loss_scale = "default+react";
  CHECK(complaint(job, "data.loss_scale") ==
        "job.toml:7:3  data.loss_scale = \"default+react\" weighs tokens, and pairs have no weights (use a "
        "scale of 0 "
        "and 1, or data.is_binary_loss_scale = true)");
  job.data.is_binary_loss_scale = true;
  CHECK(encode_settings(job, {}).weights == Weights::on_or_off);
  job.data.is_binary_loss_scale = false;
  CHECK(complaint(job, "data.is_binary_loss_scale").find("is_binary_loss_scale = false weighs tokens") !=
        std::string::npos);
}

TEST_CASE("auto tells the template from the model's config and chat template", "[data][encode]") {
  CHECK(automatic("qwen3_moe", "") == "qwen3");
  CHECK(automatic("qwen3", "<|im_start|> {%- if enable_thinking is false %}") == "qwen3");
  CHECK(automatic("qwen3_moe", R"({{- '<|im_start|>assistant\n<think>\n' }})") == "qwen3_thinking");
  CHECK(automatic("qwen3_moe", R"({{- '<|im_start|>assistant\n' }})") == "qwen3_nothinking");
  CHECK(automatic("qwen2", "") == "qwen2_5");
  CHECK(automatic("qwen2", "You are Qwen, created by Alibaba Cloud.") == "qwen2_5");
  CHECK(automatic("qwen2", "You are a helpful assistant") == "qwen");
  CHECK(automatic("qwen2", R"(<|im_start|>assistant\n<think>\n)") == "qwq");
  CHECK(automatic("qwen3_moe", "<|im_start|><function=") == "qwen3_coder");
  CHECK(automatic("llama", "<|start_header_id|>") == "llama3");
  CHECK(automatic("llama", "<|start_header_id|> Cutting Knowledge Date: December 2023") == "llama3_2");
  CHECK(automatic("deepseek_v3", "<｜User｜>") == "deepseek_v2_5");
  CHECK(automatic("deepseek_v3", R"(<｜User｜> <｜Assistant｜><think>\n)") == "deepseek_r1");
  CHECK(automatic("deepseek_v3", "{% set thinking = false %}<｜User｜>") == "deepseek_v3_1");
  CHECK(automatic("qwen3", "<｜User｜>") == "deepseek_r1");  // a distilled one
  CHECK(automatic("glm4", "[gMASK]<sop><|user|>\n") == "glm4");
  CHECK(automatic("glm4_moe", "") == "glm4_5");
  CHECK(automatic("glm4_moe", "[gMASK]<sop><arg_key><|user|>\n{{") == "glm4_5");
  CHECK(automatic("glm4_moe", "[gMASK]<sop><arg_key><|user|>{{") == "glm4_7");
  CHECK_THROWS_AS(automatic("qwen2", "<think>"), UsageError);
  CHECK_THROWS_WITH(
      automatic("llama", ""),
      "data.template = \"auto\": no template built here fits the chat template of model_type "
      "\"llama\" (built: chatml, qwen, qwen2_5, qwq, qwen3, qwen3_thinking, qwen3_nothinking, qwen3_coder, "
      "llama3, llama3_2, deepseek_v2_5, deepseek_r1, deepseek_v3_1, glm4, glm4_5, glm4_7, dummy; name one of "
      "them if it is meant)");
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
  CHECK(parse_loss_scale("all").scales.empty());
  CHECK(parse_loss_scale("last_round+ignore_empty_think").has("ignore_empty_think"));
  CHECK(parse_loss_scale("hermes+ignore_empty_think").scales.size() == 2);
  CHECK(parse_loss_scale("all+ignore_think_prefix").is_binary());
  CHECK_FALSE(parse_loss_scale("ignore_think_prefix+react").is_binary());
  CHECK(parse_loss_scale("ignore_empty_think").strategy == Strategy::every_answer);
  CHECK_THROWS_AS(parse_loss_scale("hermess"), UsageError);
  CHECK_THROWS_AS(parse_loss_scale(""), UsageError);
  CHECK_THROWS_AS(parse_loss_scale("last_round+default"), UsageError);
}

TEST_CASE("unknown names are refused at their place with the nearest spelling", "[data][encode]") {
  CHECK(complaint(job_with("qwen3_nothink"), "data.template") ==
        "job.toml:7:3  data.template = \"qwen3_nothink\" is not built (built: auto, chatml, qwen, qwen2_5, "
        "qwq, "
        "qwen3, qwen3_thinking, qwen3_nothinking, qwen3_coder, llama3, llama3_2, deepseek_v2_5, deepseek_r1, "
        "deepseek_v3_1, glm4, glm4_5, glm4_7, dummy); did you mean \"qwen3_nothinking\"?");
  job::Job job = job_with("qwen3");
  job.data.agent_template = "react_eng";
  CHECK(
      complaint(job, "data.agent_template") ==
      "job.toml:7:3  data.agent_template = \"react_eng\" is not built (built: auto, hermes, hunyuan_hermes, "
      "qwen3_coder, qwen3_5, llama3, deepseek_v3_1, glm4, chatglm4, glm4_5, glm4_7, react_en, react_zh, "
      "react_grpo, toolbench, qwen_en, qwen_zh, qwen_en_parallel, qwen_zh_parallel); did you mean "
      "\"react_en\"?");
  job = job_with("qwen3");
  job.data.loss_scale = "last_round+reacts";
  CHECK(
      complaint(job, "data.loss_scale") ==
      "job.toml:7:3  data.loss_scale = \"last_round+reacts\": there is no scale \"reacts\" (there are "
      "default, "
      "last_round or all, and with any of them base, ignore_empty_think, ignore_think_prefix, react, hermes, "
      "qwen, agentflan, alpha_umi, or a file of your own that ends with .toml); did you mean \"react\"?");
}

TEST_CASE("names that a job may have are those that are built", "[data][encode]") {
  for (const std::string_view name : job::kBuiltTemplates) {
    CHECK((name == "auto" || find_template(name) != nullptr));
  }
  CHECK(templates().size() + 1 == job::kBuiltTemplates.size());
  for (const std::string_view name : job::kBuiltAgentTemplates) {
    CHECK((name == "auto" || find_agent_template(name) != nullptr));
  }
  CHECK(agent_templates().size() + 1 == job::kBuiltAgentTemplates.size());
  for (const std::string_view name : job::kScales) CHECK(find_scale(name) != nullptr);
  CHECK(scale_names().size() == job::kScales.size());
  for (const Template& each : templates()) {
    INFO(each.name);
    CHECK((each.agent.empty() || find_agent_template(each.agent) != nullptr));
  }
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
  CHECK(encode_settings(job_with("auto"), {.model_type = "qwen3"}).loss_scale.has("ignore_empty_think"));
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

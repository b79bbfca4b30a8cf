#pragma once
#include <array>
#include <string_view>

#include "job/job.h"

/// The words that a job file may use where it chooses from a list.
namespace moebius::job {

/// The words of an enumeration of job.h, in the order of its enumerators.
template <class Enum>
inline constexpr auto kWords = nullptr;
template <>
inline constexpr std::array<std::string_view, 3> kWords<Precision>{"auto", "fp32", "bf16"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<Device>{"auto", "cpu", "cuda"};
template <>
inline constexpr std::array<std::string_view, 2> kWords<Init>{"weights", "random"};
template <>
inline constexpr std::array<std::string_view, 4> kWords<Truncation>{"delete", "left", "right", "split"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<ObjectiveKind>{"sft", "dpo", "pretrain"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<PreferenceLoss>{"sigmoid", "hinge", "ipo"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<Recompute>{"none", "selective", "full"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<Schedule>{"cosine", "linear", "constant"};
template <>
inline constexpr std::array<std::string_view, 4> kWords<PipelineSchedule>{"auto", "1f1b", "interleaved",
                                                                          "zero-bubble"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<Master>{"fp32", "remainder16", "none"};
template <>
inline constexpr std::array<std::string_view, 2> kWords<StateType>{"fp32", "bf16"};
template <>
inline constexpr std::array<std::string_view, 2> kWords<Routing>{"learned", "even"};
template <>
inline constexpr std::array<std::string_view, 2> kWords<Overlap>{"none", "halves"};
template <>
inline constexpr std::array<std::string_view, 3> kWords<Progress>{"auto", "bar", "lines"};
template <>
inline constexpr std::array<std::string_view, 4> kWords<Fabric>{"auto", "infiniband", "roce", "ethernet"};

/// The word of an enumerator: "fp32" of Precision::fp32.
template <class Enum>
[[nodiscard]] constexpr std::string_view to_word(Enum value) {
  return kWords<Enum>[std::size_t(value)];
}

/// data.template: those built ("auto" chooses one from the model's config), then the other names of
/// ms-swift 4.6 for text models, which are refused by name.
inline constexpr auto kBuiltTemplates = std::to_array<std::string_view>(
    {"auto", "chatml", "deepseek_r1", "deepseek_v2_5", "deepseek_v3_1", "dummy", "glm4", "glm4_5", "glm4_7",
     "llama3", "llama3_2", "qwen", "qwen2_5", "qwen3", "qwen3_coder", "qwen3_nothinking", "qwen3_thinking",
     "qwq"});
inline constexpr auto kOtherTemplates = std::to_array<std::string_view>({"atom",
                                                                         "aya",
                                                                         "baichuan",
                                                                         "baichuan_m1",
                                                                         "bluelm",
                                                                         "c4ai",
                                                                         "chatglm2",
                                                                         "chatglm4",
                                                                         "codefuse",
                                                                         "codefuse_codellama",
                                                                         "codegeex4",
                                                                         "dbrx",
                                                                         "deepseek",
                                                                         "deepseek_coder",
                                                                         "deepseek_v4",
                                                                         "deepseek_v4_flash",
                                                                         "default",
                                                                         "devstral",
                                                                         "dots1",
                                                                         "ernie",
                                                                         "ernie_thinking",
                                                                         "gemma",
                                                                         "gemma3_text",
                                                                         "gemma4",
                                                                         "gemma4_nothinking",
                                                                         "glm4_z1_rumination",
                                                                         "glm5_1",
                                                                         "glm5_2",
                                                                         "gpt_oss",
                                                                         "hunyuan",
                                                                         "hunyuan_moe",
                                                                         "hy_v3",
                                                                         "hy_v3_preview",
                                                                         "internlm",
                                                                         "internlm2",
                                                                         "internlm3",
                                                                         "iquestcoder",
                                                                         "kimi_k2",
                                                                         "kimi_k25",
                                                                         "kimi_k3",
                                                                         "ling",
                                                                         "ling2",
                                                                         "llama",
                                                                         "llama4",
                                                                         "longchat",
                                                                         "longwriter_llama",
                                                                         "marco_o1",
                                                                         "megrez",
                                                                         "mengzi",
                                                                         "mimo_rl",
                                                                         "minicpm",
                                                                         "minicpm5",
                                                                         "minimax",
                                                                         "minimax_m1",
                                                                         "minimax_m2",
                                                                         "minimax_m2_1",
                                                                         "minimax_m2_5",
                                                                         "minimax_m2_7",
                                                                         "minimind",
                                                                         "mistral_2501",
                                                                         "mistral_nemo",
                                                                         "modelscope_agent",
                                                                         "moonlight",
                                                                         "nemotron_h",
                                                                         "numina",
                                                                         "olmoe",
                                                                         "olmoe_0924",
                                                                         "openbuddy",
                                                                         "openbuddy2",
                                                                         "orion",
                                                                         "phi3",
                                                                         "phi4",
                                                                         "qwen2_5_math",
                                                                         "qwen3_5",
                                                                         "qwen3_guard",
                                                                         "qwq_preview",
                                                                         "reflection",
                                                                         "ring2",
                                                                         "ring2_5",
                                                                         "seed_oss",
                                                                         "skywork",
                                                                         "skywork_o1",
                                                                         "sus",
                                                                         "telechat",
                                                                         "telechat2",
                                                                         "wizardlm2",
                                                                         "wizardlm2_moe",
                                                                         "xverse",
                                                                         "yi_coder",
                                                                         "youtu_llm",
                                                                         "yuan",
                                                                         "yufeng_xguard",
                                                                         "zephyr",
                                                                         "ziya"});

/// data.agent_template, likewise ("auto": the one that goes with the template).
inline constexpr auto kBuiltAgentTemplates = std::to_array<std::string_view>(
    {"auto", "chatglm4", "deepseek_v3_1", "glm4", "glm4_5", "glm4_7", "hermes", "hunyuan_hermes", "llama3",
     "qwen3_5", "qwen3_coder", "qwen_en", "qwen_en_parallel", "qwen_zh", "qwen_zh_parallel", "react_en",
     "react_grpo", "react_zh", "toolbench"});
inline constexpr auto kOtherAgentTemplates =
    std::to_array<std::string_view>({"gemma4", "glm5_1", "hy_v3", "kimi_k25", "kimi_k3", "llama4", "minicpm5",
                                     "minimax_m2", "minimax_m3", "mistral", "seed_oss", "youtu"});

/// data.loss_scale: a strategy, which may stand first, then scales one after a '+'; a part that ends with
/// .toml names a file (scale_table.h).
inline constexpr auto kStrategies = std::to_array<std::string_view>({"default", "last_round", "all"});
inline constexpr auto kScales =
    std::to_array<std::string_view>({"agentflan", "alpha_umi", "base", "hermes", "ignore_empty_think",
                                     "ignore_think_prefix", "qwen", "react"});

}  // namespace moebius::job

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/models.h"
#include "models/rope.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::models;
using nlohmann::json;
using test::Approx;

namespace {

json moe_json() {
  return json::parse(R"({
    "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 512,
    "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 48, "norm_topk_prob": true, "decoder_sparse_step": 2, "mlp_only_layers": [1],
    "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "rope_scaling": null, "eos_token_id": [499, 500], "torch_dtype": "bfloat16", "attention_dropout": 0.0,
    "use_sliding_window": false, "sliding_window": 4096})");
}

json dense_json(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 512},        {"hidden_size", 64},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"intermediate_size", 96}};
}

ModelConfig read(const json& value) {
  return read_config(value.dump(), "config.json");
}

std::string refusal(const json& value) {
  try {
    static_cast<void>(read(value));
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// The refusal of the MoE config with one key changed.
std::string refusal_with(const std::string& key, const json& value) {
  json config = moe_json();
  config[key] = value;
  return refusal(config);
}

}  // namespace

TEST_CASE("a qwen3_moe config.json says what it says", "[models][config]") {
  const ModelConfig config = read(moe_json());
  CHECK(config.family == "qwen3_moe");
  CHECK(config.vocab == 512);
  CHECK(config.head_dim == 32);
  CHECK(config.dense_width == 128);
  CHECK(config.experts == 8);
  CHECK(config.top_k == 2);
  CHECK(config.expert_width == 48);
  CHECK(config.topk_weights == ModelConfig::TopkWeights::sum_to_one);
  CHECK(config.is_moe_layer == std::vector<bool>{false, false, false, true, false});
  CHECK(config.qk_norm);
  CHECK_FALSE(config.qkv_bias);
  CHECK_FALSE(config.tied_embeddings);
  CHECK(config.rms_epsilon == 1e-5);
  CHECK(config.rope_theta == 1e6);
  CHECK(config.end_tokens == std::vector<std::int64_t>{499, 500});
  CHECK(config.dtype == "bfloat16");
}

TEST_CASE("old and new spellings are one setting", "[models][config]") {
  json spelled = moe_json();
  for (const char* key : {"num_experts", "rope_theta", "rope_scaling", "torch_dtype"}) spelled.erase(key);
  spelled["num_local_experts"] = 8;
  spelled["dtype"] = "float32";
  spelled["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  const ModelConfig config = read(spelled);
  CHECK(config.experts == 8);
  CHECK(config.dtype == "float32");
  CHECK(config.rope_theta == 5e5);
  spelled["num_experts"] = 4;
  CHECK(refusal(spelled) == "config.json: num_local_experts = 8 contradicts num_experts = 4");
}

TEST_CASE("what families take for missing keys is what transformers takes", "[models][config]") {
  CHECK(read(dense_json("qwen2")).head_dim == 16);
  CHECK(read(dense_json("qwen3")).head_dim == 128);
  CHECK(read(dense_json("qwen2")).qkv_bias);
  CHECK_FALSE(read(dense_json("qwen2")).output_bias);
  CHECK_FALSE(read(dense_json("qwen2")).qk_norm);
  CHECK(read(dense_json("qwen3")).qk_norm);
  CHECK(read(dense_json("qwen3")).rope_theta == 10000);
  json moe = moe_json();
  moe.erase("norm_topk_prob"), moe.erase("decoder_sparse_step"), moe.erase("mlp_only_layers");
  CHECK(read(moe).topk_weights == ModelConfig::TopkWeights::as_softmax);
  CHECK(read(moe).is_moe_layer == std::vector<bool>(5, true));
  CHECK(read(moe).dense_width == 0);
}

TEST_CASE("a wrong config.json is refused by file, key, value and reason", "[models][config]") {
  CHECK(refusal_with("model_type", "llama") ==
        R"(config.json: model_type = "llama" is not built; built are qwen2, qwen3, qwen3_moe)");
  CHECK(refusal_with("hidden_size", -64) ==
        "config.json: hidden_size = -64 must be a whole number from 1 to 4194304");
  CHECK(refusal_with("hidden_size", 64.5) ==
        "config.json: hidden_size = 64.5 must be a whole number from 1 to 4194304");
  CHECK(refusal_with("vocab_size", "512") ==
        R"(config.json: vocab_size = "512" must be a whole number from 1 to 2147483647)");
  CHECK(refusal_with("vocab_size", 18446744073709551615u) ==
        "config.json: vocab_size = 18446744073709551615 must be a whole number from 1 to 2147483647");
  CHECK(refusal_with("num_hidden_layers", nullptr) ==
        "config.json: num_hidden_layers: the key is missing; it must be a whole number from 1 to 10000");
  CHECK(refusal_with("num_attention_heads", 5) ==
        "config.json: num_attention_heads = 5 is not a multiple of num_key_value_heads = 2");
  CHECK(refusal_with("head_dim", 31) ==
        "config.json: head_dim = 31 gives heads of 31 entries; built are even numbers up to 256");
  CHECK(refusal_with("head_dim", 512) ==
        "config.json: head_dim = 512 gives heads of 512 entries; built are even numbers up to 256");
  CHECK(refusal_with("num_experts_per_tok", 9) ==
        "config.json: num_experts_per_tok = 9 is more than the 8 experts");
  CHECK(refusal_with("hidden_act", "gelu") ==
        R"(config.json: hidden_act = "gelu" is not built; built is silu)");
  CHECK(refusal_with("attention_dropout", 0.1) ==
        "config.json: attention_dropout = 0.1 is not built; set it to 0");
  CHECK(refusal_with("norm_topk_prob", 1) == "config.json: norm_topk_prob = 1 must be true or false");
  CHECK(refusal_with("mlp_only_layers", {5}) ==
        "config.json: mlp_only_layers = [5] must be whole numbers, each from 0 to 4");
  CHECK(
      refusal_with("architectures", {"Qwen3MoeForSequenceClassification"}) ==
      R"(config.json: architectures = ["Qwen3MoeForSequenceClassification"] is no causal language model (...ForCausalLM))");
  CHECK(refusal_with("quantization_config", json::object())
            .starts_with("config.json: quantization_config = {} quantised weights cannot be trained"));
  CHECK(refusal_with("use_sliding_window", true)
            .starts_with(
                "config.json: use_sliding_window = true attention over a sliding window is not built"));
  CHECK(refusal_with("rms_norm_eps", -1e-6).starts_with("config.json: rms_norm_eps = -1e-06 must be"));
  CHECK(refusal_with("shared_expert_intermediate_size", 32)
            .starts_with("config.json: shared_expert_intermediate_size = 32 asks for a shared expert"));
}

TEST_CASE("text that is no JSON object is refused at its byte", "[models][config]") {
  CHECK_THROWS_WITH(read_config("{\"vocab_size\": }", "a/config.json"),
                    Catch::StartsWith("a/config.json: not JSON, at byte 16 of 16"));
  CHECK_THROWS_WITH(read_config("[]", "config.json"),
                    "config.json: not a JSON object, which a config.json is");
  CHECK_THROWS_WITH(read_config("{}", "config.json"),
                    "config.json: model_type: the key is missing; built are qwen2, qwen3, qwen3_moe");
  CHECK_THROWS_AS(read_config("{\"vocab_size\": 1e999}", "config.json"), InputError);
}

TEST_CASE("a sliding window that no layer uses is no obstacle", "[models][config]") {
  json config = dense_json("qwen3");
  config["use_sliding_window"] = true;
  config["max_window_layers"] = 2;
  CHECK(refusal(config).empty());
  config["layer_types"] = {"full_attention", "full_attention"};
  config["max_window_layers"] = 1;
  CHECK(refusal(config).empty());
  config["layer_types"] = {"full_attention", "sliding_attention"};
  CHECK(refusal(config).starts_with("config.json: use_sliding_window = true"));
  config["layer_types"] = {"full_attention", "linear_attention"};
  CHECK(refusal(config).find("\"linear_attention\", which is not built") != std::string::npos);
  config["layer_types"] = {"full_attention"};
  CHECK(refusal(config).find("has 1 entries for num_hidden_layers = 2") != std::string::npos);
}

TEST_CASE("rotary settings that contradict or are not built are refused", "[models][config]") {
  CHECK(
      refusal_with("rope_scaling", {{"type", "longrope"}, {"factor", 4.0}})
          .starts_with(
              R"(config.json: rope_scaling.type = "longrope" is a way of stretching rotary positions that is not built)"));
  CHECK(refusal_with("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}).find("not built") !=
        std::string::npos);
  CHECK(refusal_with("rope_scaling", {{"rope_type", "yarn"}}) ==
        "config.json: rope_scaling.factor: the key is missing; it must be a number from 1 to 1000000");
  CHECK(refusal_with("rope_scaling", 4) == "config.json: rope_scaling = 4 must be an object");
  CHECK(refusal_with("rope_parameters", {{"rope_theta", 10.0}}) ==
        "config.json: rope_theta = 1000000.0 contradicts rope_parameters.rope_theta = 10");
  CHECK(refusal_with("rope_parameters", {{"full_attention", {{"rope_theta", 10.0}}}})
            .starts_with(R"(config.json: rope_parameters.full_attention = {"rope_theta":10.0} gives)"));
  CHECK(refusal_with("partial_rotary_factor", 0.5).find("not built") != std::string::npos);
}

namespace {

struct RopeCase {
  json parameters;
  double factor;
  std::vector<std::pair<std::size_t, double>> inverse;
};

}  // namespace

// Values: transformers 5.24.0, Qwen3RotaryEmbedding(...).inv_freq and attention_scaling, head_dim 32.
TEST_CASE("rotary frequencies are transformers'", "[models][rope]") {
  const std::vector<RopeCase> cases{
      {{{"rope_type", "default"}, {"rope_theta", 1e6}}, 1, {{0, 1}, {5, 0.0133352149}, {15, 2.37137374e-06}}},
      {{{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 1e4}}, 1, {{0, 0.25}, {15, 4.44569851e-05}}},
      {{{"rope_type", "yarn"},
        {"factor", 4.0},
        {"original_max_position_embeddings", 32768},
        {"rope_theta", 1e6}},
       1.138629436111989,
       {{5, 0.0133352149},
        {6, 0.00477990136},
        {9, 0.000168678584},
        {10, 4.44569851e-05},
        {15, 5.92843435e-07}}},
      {{{"rope_type", "yarn"},
        {"factor", 40.0},
        {"original_max_position_embeddings", 4096},
        {"rope_theta", 1e4},
        {"mscale", 1.0},
        {"mscale_all_dim", 0.5}},
       1.1557219901962608,
       {{5, 0.0562341288}, {6, 0.0272181761}, {11, 0.000292145909}, {12, 2.49999994e-05}}},
      {{{"rope_type", "yarn"},
        {"factor", 8.0},
        {"original_max_position_embeddings", 64},
        {"rope_theta", 1e4},
        {"truncate", false},
        {"attention_factor", 1.25}},
       1.25,
       {{1, 0.440305501}, {2, 0.178976148}, {4, 0.0131944576}, {5, 0.0070292661}, {15, 2.22284925e-05}}},
      {{{"rope_type", "llama3"},
        {"factor", 8.0},
        {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0},
        {"original_max_position_embeddings", 8192},
        {"rope_theta", 5e5}},
       1,
       {{7, 0.00321144611}, {8, 0.000524846022}, {9, 7.78465546e-05}, {15, 5.6770881e-07}}},
  };
  for (const RopeCase& expected : cases) {
    INFO(expected.parameters.dump());
    json config = dense_json("qwen3");
    config["head_dim"] = 32;
    config["max_position_embeddings"] = 262144;
    config["rope_parameters"] = expected.parameters;
    const RopeFrequencies frequencies = rope_frequencies(read(config));
    REQUIRE(frequencies.inverse.size() == 16);
    CHECK(frequencies.factor == Approx(expected.factor).epsilon(1e-12));
    for (const auto& [index, value] : expected.inverse) {
      CHECK(frequencies.inverse[index] == Approx(value).epsilon(1e-6));  // theirs are fp32, the ramp too
    }
  }
}

TEST_CASE("a mesh that does not fit the model is refused with degrees that do", "[models][mesh]") {
  const ModelConfig config = read(moe_json());
  CHECK(check_mesh(config, {.tensor = 2, .expert = 4}).empty());
  const auto problems = check_mesh(config, {.tensor = 3, .expert = 3});
  REQUIRE(problems.size() == 2);
  CHECK(problems[0].key == "parallel.tensor");
  CHECK(problems[0].text ==
        "parallel.tensor = 3 does not divide the model's 2 key and value heads (use 1, 2)");
  CHECK(problems[1].text == "parallel.expert = 3 does not divide the model's 8 experts (use 1, 2, 4, 8)");
  const auto width = check_mesh(config, {.expert_tensor = 5});
  REQUIRE(width.size() == 1);
  CHECK(width[0].key == "parallel.expert_tensor");
  CHECK(width[0].text ==
        "parallel.expert_tensor = 5 does not divide the model's 48 columns of an expert "
        "(moe_intermediate_size) (use 1, 2, 3, 4, 6, 8, 12, 16, 24, 48)");
  const auto dense = check_mesh(read(dense_json("qwen2")), {.expert = 2, .expert_tensor = 2});
  REQUIRE(dense.size() == 2);
  CHECK(dense[0].text == "parallel.expert = 2, but the model (qwen2) has no experts (use 1)");
  CHECK(dense[1].text == "parallel.expert_tensor = 2, but the model (qwen2) has no experts (use 1)");
}

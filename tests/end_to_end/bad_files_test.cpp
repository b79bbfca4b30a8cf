#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "data/rows/column_file.h"
#include "tests/end_to_end/broken_folder.h"

// Model, tokenizer, data and checkpoint files that must be refused (exit code 3), and outputs that cannot be
// written (4): each is a good folder in which one thing is broken.

namespace moebius::test {
namespace {

const std::string kNewest = "out/checkpoints/step_00000002.h5", kOlder = "out/checkpoints/step_00000001.h5";
const std::vector<std::string> kTrain{"train", "job.toml"};
const std::vector<std::string> kRestart{"train", "job.toml", "--set", "checkpoint.resume=never"};
const std::vector<std::string> kImport{"import", "model", "-o", "new.h5"};
const std::vector<std::string> kScore{"score", "model", "--input", "rows.jsonl", "-o", "scores.jsonl"};
const std::vector<std::string> kGenerate{"generate", "model", "--prompt", "the"};
const std::vector<std::string> kExport{"export", kNewest, "-o", "new"};
const std::vector<std::string> kTokenize{"tokenize", "model", "--input", "rows.jsonl"};

TEST_CASE("a config.json that is wrong is refused", "[slow][errors]") {
  check_refused({
      {"cut off", written("model/config.json", "{\"model_type\": "), kTrain,
       "model/config.json: not JSON, at byte 16 of 15: ..."},
      {"absent", removed("model/config.json"), kScore,
       "model: no config.json in this folder; a Hugging Face model folder has one"},
      {"a key is missing", config([](Json& c) { c.erase("hidden_size"); }), kImport,
       "model/config.json: hidden_size: the key is missing; it must be a whole number from 1 to 4194304"},
      {"a text for a number", config([](Json& c) { c["hidden_size"] = "32"; }), kScore,
       "model/config.json: hidden_size = \"32\" must be a whole number from 1 to 4194304"},
      {"a model that is not built", config([](Json& c) { c["model_type"] = "mamba"; }), kTrain,
       "model/config.json: model_type = \"mamba\" is not built; built are qwen2, qwen3, qwen3_moe"},
      {"sizes that contradict each other", config([](Json& c) { c["num_attention_heads"] = 6; }), kGenerate,
       "model/config.json: num_attention_heads = 6 is not a multiple of num_key_value_heads = 8"},
      {"more experts a token than there are", config([](Json& c) { c["num_experts_per_tok"] = 9; }), kTrain,
       "model/config.json: num_experts_per_tok = 9 is more than the 8 experts"},
      {"positions stretched in a way that is not built", config([](Json& c) {
         c["rope_scaling"] = {{"rope_type", "longrope"}, {"factor", 4.0}};
       }),
       kTrain,
       "model/config.json: rope_scaling.rope_type = \"longrope\" is a way of stretching rotary positions "
       "that "
       "is not built; built are default, linear, yarn, llama3"},
      {"heads wider than what is built", config([](Json& c) { c["head_dim"] = 512; }), kImport,
       "model/config.json: head_dim = 512 gives heads of 512 entries; built are even numbers up to 256"},
      {"a width that no machine can hold", config([](Json& c) { c["moe_intermediate_size"] = 1 << 22; }),
       kScore, "model: 48 tensors do not fit the model; the first: ..."},
      {"another width than that of the tensors", config([](Json& c) { c["moe_intermediate_size"] = 24; }),
       kRestart, "model: 48 tensors do not fit the model; the first: ..."},
  });
}

TEST_CASE("weights that are wrong are refused", "[slow][errors]") {
  check_refused({
      {"a header longer than the file",
       [](const fs::path& folder) {
         std::string bytes = slurp(folder / "model/model.safetensors");
         bytes.replace(0, 8, little_endian_8(std::uint64_t{1} << 40));
         spill(folder / "model/model.safetensors", bytes);
       },
       kImport,
       "model/model.safetensors: by its first 8 bytes the header is 1099511627776 bytes long, but ..."},
      {"a header that is not JSON", written("model/model.safetensors", safetensors_bytes("{\"a\": [", "")),
       kScore, "model/model.safetensors: byte 15: no valid JSON: ..."},
      {"a tensor past the end of the file", header([](Json& h) {
         h[kLastInFile]["shape"] = {2048, 32};
         h[kLastInFile]["data_offsets"][1] = h[kLastInFile]["data_offsets"][0].get<int>() + 2048 * 32 * 4;
       }),
       kRestart,
       "model/model.safetensors: the tensors take 617536 bytes, but 486464 follow the header: the file is "
       "cut "
       "short; fetch it again"},
      {"two tensors in the same bytes", header([](Json& h) {
         h[kNorm]["data_offsets"] = h["model.layers.0.input_layernorm.weight"]["data_offsets"];
       }),
       kImport,
       "model/model.safetensors: tensor 'model.layers.0.input_layernorm.weight': begins at byte 131072 of "
       "the "
       "data, but 'model.norm.weight' before it ends at 131200: they overlap"},
      {"a type that does not exist", header([](Json& h) { h[kNorm]["dtype"] = "F31"; }), kScore,
       "model/model.safetensors: tensor 'model.norm.weight': dtype \"F31\" is unknown"},
      {"a type that weights do not have", header([](Json& h) { h[kNorm]["dtype"] = "I32"; }), kGenerate,
       "model: tensor 'model.norm.weight' is I32 in model.safetensors; weights must be F32, BF16, F16 or "
       "F64"},
      {"a shape that is not that of the bytes", header([](Json& h) { h[kNorm]["shape"] = {33}; }), kImport,
       "model/model.safetensors: tensor 'model.norm.weight': data_offsets [355264, 355392] hold 128 bytes, "
       "but "
       "shape [33] of F32 has 132"},
      {"a shape that is not that of the model", header([](Json& h) {
         h[kNorm]["shape"] = {16, 2};
       }),
       kRestart,
       "model: tensor 'model.norm.weight' is [16, 2] in model.safetensors, but config.json makes it [32]"},
      {"a tensor that is missing", header([](Json& h) {
         h["model.other.weight"] = h[kNorm];
         h.erase(kNorm);
       }),
       kScore, "model: 1 of the model's 80 tensors are missing: 'model.norm.weight'"},
      {"a file cut short", cut("model/model.safetensors", 100000), kRestart,
       "model/model.safetensors: the tensors take 486464 bytes, but 91448 follow the header: the file is cut "
       "short; fetch it again"},
      {"a shard that is not there", indexed([](Json& i) { i["weight_map"][kNorm] = "model-2.safetensors"; }),
       kScore,
       "model/model.safetensors.index.json: 1 of the 2 files of weight_map are not there: "
       "'model-2.safetensors'"},
      {"a shard outside of the folder",
       indexed([](Json& i) { i["weight_map"][kNorm] = "../model.safetensors"; }), kImport,
       "model/model.safetensors.index.json: weight_map says '../model.safetensors' for 'model.norm.weight': "
       "not "
       "the name of a .safetensors file in this folder"},
      {"an index that names a tensor too many",
       indexed([](Json& i) { i["weight_map"]["model.other"] = "model-00001-of-00001.safetensors"; }),
       kRestart,
       "model/model.safetensors.index.json: weight_map puts tensor 'model.other' in "
       "model-00001-of-00001.safetensors, but it is in no file"},
      {"no weights at all", removed("model/model.safetensors"), kGenerate,
       "model: neither model.safetensors nor model.safetensors.index.json in this folder"},
      {"no folder at all",
       nothing(),
       {"score", "nowhere", "--input", "rows.jsonl"},
       "nowhere: no such Hugging Face folder or checkpoint"},
  });
}

TEST_CASE("a tokenizer that is wrong is refused", "[slow][errors]") {
  check_refused({
      {"not JSON", written("model/tokenizer.json", "{\"model\": }"), kTokenize,
       "model/tokenizer.json: byte 11: not JSON: ..."},
      {"a merge of unknown tokens", tokenizer([](Json& t) {
         t["model"]["merges"][0] = {"qq", "zz"};
       }),
       kGenerate, "model/tokenizer.json: model.merges: merge 0 of 'qq' and 'zz': 'qq' is not in model.vocab"},
      {"a pre-tokenizer that is not built", tokenizer([](Json& t) {
         t["pre_tokenizer"] = {{"type", "Metaspace"}};
       }),
       kTrain,
       "model/tokenizer.json: pre_tokenizer: pre-tokenizer 'Metaspace' is not built (Split, Digits and "
       "ByteLevel "
       "are)"},
      {"more tokens than the model has", config([](Json& c) { c["vocab_size"] = 1000; }), kTrain,
       "model/tokenizer.json: its largest id is 1023, but config.json says vocab_size = 1000"},
      {"two tokens of one id",
       tokenizer([](Json& t) { t["model"]["vocab"]["b"] = t["model"]["vocab"]["a"]; }), kGenerate,
       "model/tokenizer.json: model.vocab: tokens 'a' and 'b' have the same id 64"},
      {"no pattern that PCRE2 knows",
       tokenizer([](Json& t) { t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(\\p{L}"; }),
       kTokenize,
       "model/tokenizer.json: pre_tokenizer.pretokenizers[0].pattern: the regular expression does not "
       "compile: "
       "missing closing parenthesis, behind '(\\p{L}' (pattern: (\\p{L})"},
      {"absent", removed("model/tokenizer.json"), kGenerate,
       "model: has no tokenizer.json, which this command needs"},
      {"settings that are not JSON", written("model/tokenizer_config.json", "[1,"), kTrain,
       "model/tokenizer_config.json: byte 4: not JSON: ..."},
      {"a chat template that is a number",
       edited("model/tokenizer_config.json", [](Json& t) { t["chat_template"] = 5; }), kTrain,
       "tokenizer_config.json: chat_template is neither a text nor a list of {\"name\", \"template\"}"},
  });
}

TEST_CASE("data that is wrong is refused", "[slow][errors]") {
  const std::string row = "{\"input_ids\":[1,2,3],\"labels\":[1,2,3]}\n";
  const auto train_on = [](const std::string& file) {
    return std::vector<std::string>{"train", "job.toml", "--set", "data.train=[\"" + file + "\"]"};
  };
  check_refused({
      {"a line that is not JSON", written("rows.jsonl", row + row + "{\"input_ids\":[1,2,}\n"), kTrain,
       "rows.jsonl:3:19 not JSON: ...", 3, 0},
      {"a line that is not JSON, in the part of rank 1",
       [=](const fs::path& folder) {
         std::string rows;
         for (int i = 0; i < 70; ++i) rows += row;
         spill(folder / "rows.jsonl", rows + "nonsense\n");
       },
       kTrain, "rows.jsonl:71:2 not JSON: ...", 3, 1},
      {"a line that is no object", written("rows.jsonl", row + "[1, 2]\n"), kTrain,
       "rows.jsonl:2:1 a row must be an object {\"column\": value, ..}", 3, 0},
      {"absent", nothing(), train_on("nowhere.jsonl"),
       "nowhere.jsonl: cannot open: No such file or directory"},
      {"empty", written("rows.jsonl", "\n"), kTrain, "rows.jsonl: there is no row in this file"},
      {"a token that the model does not have",
       written("rows.jsonl", "{\"input_ids\":[1,1024],\"labels\":[1,1024]}\n"), kTrain,
       "rows.jsonl: none of its 1 rows can be used: 1 row left out: a token id outside of the vocabulary "
       "(first: "
       "rows.jsonl:1); `moebius render` shows each"},
      {"labels of another length", written("rows.jsonl", "{\"input_ids\":[1,2],\"labels\":[1,2,3]}\n"),
       kTrain,
       "rows.jsonl: none of its 1 rows can be used: 1 row left out: input_ids, labels or loss_scale "
       "malformed "
       "(first: rows.jsonl:1); `moebius render` shows each"},
      {"a quoted field that is not closed", written("rows.csv", "query,response\na,b\nc,\"d\ne,f\n"),
       train_on("rows.csv"), "rows.csv:3:1 a quoted field of the record that begins here is not closed"},
      {"more fields than columns", written("rows.csv", "query,response\na,b,c\n"), train_on("rows.csv"),
       "rows.csv:2:1 3 fields, but the header names 2 columns", 3, 0},
      {"an array of rows that does not end", written("rows.json", "[" + row), train_on("rows.json"),
       "rows.json:2:1 expected ',' or ']' after a row"},
      {"a parquet file cut short", written("rows.parquet", "PAR1"), train_on("rows.parquet"),
       data::parquet_reader().empty()
           ? "rows.parquet: parquet files need a build with Apache Arrow, and this one is without (run "
             "`env/setup.sh parquet` and build again, or write the rows as .jsonl)"
           : "rows.parquet: the file does not end with PAR1: it is cut short or still being written; copy or "
             "write "
             "it again"},
      {"a kind of file that nobody knows", written("rows.docx", "PK"), train_on("rows.docx"),
       "rows.docx: unknown kind of data file (known: .jsonl, .json, .csv, .txt, .parquet)"},
      {"compressed text", written("rows.jsonl.gz", "x"), train_on("rows.jsonl.gz"),
       "--set data.train  data.train names \"rows.jsonl.gz\", a compressed file: not built yet in this "
       "version "
       "(unpack it)\n1 problem, nothing was started",
       2},
      {"text without a tokenizer",
       [](const fs::path& folder) {
         fs::remove(folder / "model/tokenizer.json");
         spill(folder / "rows.jsonl", "{\"query\":\"a\",\"response\":\"b\"}\n");
       },
       kTrain, "rows.jsonl:1:1 a row of text needs a tokenizer, but the model has no tokenizer.json", 3, 0},
  });
}

TEST_CASE("a checkpoint that is wrong is refused", "[slow][errors]") {
  const auto both = [](const Spoil& one, const Spoil& other) {
    return [=](const fs::path& folder) { one(folder), other(folder); };
  };
  check_refused({
      {"cut short", cut(kNewest, 100000), kExport,
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: cannot be opened: truncated file: ..."},
      {"a bit flipped", bit_flipped(kNewest), kExport,
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: the elements [0:32] of 'parameters/norm' "
       "are not "
       "those that were written (wrong checksum)"},
      {"not HDF5",
       written(kNewest, "not HDF5"),
       {"score", kNewest, "--input", "rows.jsonl"},
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: cannot be opened: file signature not "
       "found"},
      {"empty",
       cut(kNewest, 0),
       {"inspect", kNewest},
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: cannot be opened: file signature not "
       "found"},
      {"absent",
       nothing(),
       {"inspect", "nowhere.h5"},
       "nowhere.h5: there is no such file; a checkpoint is expected here"},
      {"of another model", config([](Json& c) { c["moe_intermediate_size"] = 24; }), kTrain,
       "out/checkpoints/step_00000002.h5: tensor 'parameters/layers.0.experts.gate_up' has shape [8, 2, 16, "
       "32], "
       "the model needs [8, 2, 24, 32]; the checkpoint is of another model"},
      {"all of a run damaged", both(cut(kNewest, 100000), written(kOlder, "not HDF5")), kTrain,
       "out/checkpoints: none of its 2 checkpoints is whole (out/checkpoints/step_00000002.h5: not a whole "
       "checkpoint: cannot be opened: truncated file: ..."},
      {"the start of another run damaged",
       cut(kNewest, 100000),
       {"train", "job.toml", "--set", "job.output=other", "--set", "checkpoint.resume=" + kNewest},
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: cannot be opened: truncated file: ..."},
      {"a start from a damaged model",
       bit_flipped(kNewest),
       {"train", "job.toml", "--set", "job.output=other", "--set", "model.path=" + kNewest},
       "out/checkpoints/step_00000002.h5: not a whole checkpoint: the elements [0:32] of 'parameters/norm' "
       "are not "
       "those that were written (wrong checksum)"},
  });
}

TEST_CASE("inspect tells what is damaged and returns 3", "[slow][errors]") {
  const TemporaryFolder folder;
  fs::copy(good_folder(), folder.path(), fs::copy_options::recursive);
  bit_flipped(kNewest)(folder.path());
  for (const int ranks : {1, 2}) {
    const Outcome outcome = Program(folder).run(ranks, {"inspect", kNewest});
    CHECK(outcome.exit_code == 3);
    CHECK(without_launcher(outcome.err).empty());
    const std::string damage = kNewest +
                               ": the elements [0:32] of 'parameters/norm' are not those that were written "
                               "(wrong checksum)\n";
    CHECK(outcome.out.ends_with("DAMAGED: 1 slabs are not those that were written\n" + damage));
  }
}

TEST_CASE("a run goes on from the checkpoint before a damaged one", "[slow][errors]") {
  const int ranks = GENERATE(1, 2);
  const TemporaryFolder folder;
  fs::copy(good_folder(), folder.path(), fs::copy_options::recursive);
  bit_flipped(kNewest)(folder.path());
  const Outcome outcome = Program(folder).run(ranks, kTrain);
  INFO(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.err, contains("(wrong checksum); trying the one before\n"));
  CHECK_THAT(outcome.err, contains("resuming from " + kOlder + ": iteration 1 "));
  CHECK(column(rows_of(slurp(folder / "out/metrics.jsonl")), "iteration") == std::vector<double>{1, 2, 3, 4});
}

TEST_CASE("input that is wrong is refused by score, generate and tokenize", "[slow][errors]") {
  check_refused({
      {"a token that the model does not have", written("rows.jsonl", "{\"input_ids\":[1,2,1024]}\n"), kScore,
       "rows.jsonl:1: \"input_ids\" holds 1024; token ids are whole numbers from 0 to 1023"},
      {"no whole number", written("rows.jsonl", "{\"input_ids\":[1]}\n\n{\"input_ids\":[1,2.5]}\n"), kScore,
       "rows.jsonl:3: \"input_ids\" holds 2.5; token ids are whole numbers from 0 to 1023"},
      {"no ids", written("rows.jsonl", "{\"ids\":[1]}\n"), kScore,
       "rows.jsonl:1: must be an object with \"input_ids\""},
      {"not JSON", written("rows.jsonl", "{\"text\":\n"), kTokenize, "rows.jsonl:1: not JSON: ...", 3, 0},
      {"no text", written("rows.jsonl", "{\"text\":1}\n"), kTokenize, "rows.jsonl:1: \"text\" must be a text",
       3, 0},
      {"absent",
       nothing(),
       {"score", "model", "--input", "nowhere.jsonl"},
       "nowhere.jsonl: cannot be opened: No such file or directory"},
      {"nothing to continue",
       nothing(),
       {"generate", "model", "--prompt", ""},
       "--prompt is empty: there is nothing to continue"},
      {"no ids to continue",
       written("rows.jsonl", "{\"input_ids\":[1]}\n{\"input_ids\":[]}\n"),
       {"generate", "model", "--ids", "rows.jsonl"},
       "rows.jsonl:2: \"input_ids\" is empty: there is nothing to continue"},
      {"nobody speaks",
       written("rows.jsonl", "{\"messages\":[]}\n"),
       {"generate", "model", "--messages", "rows.jsonl"},
       "rows.jsonl:1:1 no messages"},
      {"a role that is not built",
       written("rows.jsonl", "{\"messages\":[{\"role\":\"clown\",\"content\":\"a\"}]}\n"),
       {"generate", "model", "--messages", "rows.jsonl"},
       "rows.jsonl:1:1 unknown role: 'clown'"},
  });
}

TEST_CASE("output that cannot be written is refused with exit code 4", "[slow][errors]") {
  check_refused({
      {"a folder below a file",
       nothing(),
       {"train", "job.toml", "--set", "job.output=rows.jsonl/out"},
       "rows.jsonl/out: cannot be made a folder: Not a directory; choose another job.output",
       4},
      {"a file where a folder shall be",
       nothing(),
       {"train", "job.toml", "--set", "job.output=rows.jsonl"},
       "rows.jsonl: cannot be made a folder: Not a directory; choose another job.output",
       4},
      {"a folder that is not empty",
       nothing(),
       {"export", kNewest, "-o", "model"},
       "{folder}/model: is not empty (it holds ...",
       4},
      {"a checkpoint in no folder",
       nothing(),
       {"import", "model", "-o", "nowhere/new.h5"},
       "nowhere/new.h5.partial: cannot be opened: No such file or directory",
       4},
      {"scores in no folder",
       nothing(),
       {"score", "model", "--input", "rows.jsonl", "-o", "nowhere/scores.jsonl"},
       "nowhere/scores.jsonl: cannot be written; does its folder exist?",
       4},
  });
}

TEST_CASE("the output of a run that is alive is left alone", "[slow][errors]") {
  const TemporaryFolder folder;
  fs::copy(good_folder(), folder.path(), fs::copy_options::recursive);
  spill(folder / "out/moebius.lock", "process 7 on elsewhere\n");
  const int lock = ::open((folder / "out/moebius.lock").c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(::flock(lock, LOCK_EX | LOCK_NB) == 0);  // as the run that wrote the line holds it
  for (const int ranks : {1, 2}) {
    check_refused(folder, ranks,
                  {kTrain, 4,
                   "out: another run writes to this folder (process 7 on elsewhere); wait for it to end "
                   "or choose another job.output"});
  }
  ::close(lock);
}

}  // namespace
}  // namespace moebius::test

#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// job: what the user asked for.
///
///   job.h        the values, one struct a section of the file, and their defaults
///   names.h      the words of each choice; the templates and loss scales that are built or known
///   scale_table.h  a table of weights that data.loss_scale names
///   schema.h     one table of all keys: name, type, bounds, words, where it is stored
///   parse.h      TOML text and --set -> Job, every problem at once, each with file:line:column
///   validate.h   rules between settings; what is not built yet is refused by name
///   report.h     collects what rules find; used by later rules as well
///   load.h       parse and validate together: a Job that is right, or one error with every problem
///   write.h      Job -> the completed TOML: every key with its value
namespace moebius::job {

/// A limit on wall-clock time: from the queue ("auto"), given, or "none".
struct TimeLimit {
  enum class Kind : std::uint8_t { automatic, none, given } kind = Kind::automatic;
  double seconds = 0;  // when given
};

struct General {  // [job]
  std::string name = "moebius";
  std::string output;  // folder; required by train
  std::int64_t seed = 42;
  TimeLimit time_limit;
};

enum class Precision : std::uint8_t { automatic, fp32, bf16 };
enum class Device : std::uint8_t { automatic, cpu, cuda };
enum class Init : std::uint8_t { weights, random };

struct Model {  // [model]: path, or config + tokenizer + init = "random"
  std::string path;
  std::string config;
  std::string tokenizer;
  Init init = Init::weights;
  Precision precision = Precision::automatic;
  Device device = Device::automatic;
};

enum class Truncation : std::uint8_t { remove, left, right, split };  // "delete", then by their names

struct Data {  // [data]
  std::vector<std::string> train, validation;
  double validation_fraction = 0;
  std::string template_name = "auto";
  std::string agent_template = "auto";
  std::string loss_scale = "default";
  std::optional<bool> is_binary_loss_scale;  // not given: whether all weights of the scale are 0 or 1
  std::string system;
  std::int64_t max_length = 8192;
  Truncation truncation = Truncation::remove;
  bool packing = true;
  bool shuffle = true;
  std::string model_name, model_author;
  std::optional<bool> enable_thinking, preserve_thinking;
  bool add_non_thinking_prefix = true;
  std::string response_prefix;
  bool disable_ignore_empty_think = false;
  std::map<std::string, std::string> columns;  // [data.columns]: file's name -> our name
};

enum class ObjectiveKind : std::uint8_t { sft, dpo, pretrain };
enum class PreferenceLoss : std::uint8_t { sigmoid, hinge, ipo };

struct Objective {  // [objective]
  ObjectiveKind kind = ObjectiveKind::sft;
  PreferenceLoss loss = PreferenceLoss::sigmoid;
  double beta = 0.1, rpo_alpha = 0, label_smoothing = 0;
  std::string reference;
  bool reference_cache = false;
};

enum class Recompute : std::uint8_t { none, selective, full };

struct Train {  // [train]
  std::int64_t micro_batch_size = 1, global_batch_size = 16;
  double epochs = 1;
  std::optional<std::int64_t> iterations;  // instead of epochs
  Recompute recompute = Recompute::none;
  std::int64_t recompute_layers = 1;
};

enum class Schedule : std::uint8_t { cosine, linear, constant };
enum class Master : std::uint8_t { fp32, remainder16, none };
enum class StateType : std::uint8_t { fp32, bf16 };

struct Optimizer {  // [optimizer]
  double lr = 1e-5, min_lr = 0;
  Schedule schedule = Schedule::cosine;
  double warmup_fraction = 0, weight_decay = 0.1;
  double beta1 = 0.9, beta2 = 0.95;  // betas = [beta1, beta2]
  double epsilon = 1e-8, clip_norm = 1;
  Master master = Master::fp32;
  StateType moments = StateType::fp32, gradients = StateType::fp32;
};

enum class PipelineSchedule : std::uint8_t { automatic, one_f_one_b, interleaved, zero_bubble };

struct Parallel {  // [parallel]; world = tensor * context * pipeline * data
  std::int64_t tensor = 1;
  bool sequence = true;
  std::int64_t pipeline = 1, virtual_pipeline = 1, context = 1, expert = 1, expert_tensor = 1;
  PipelineSchedule schedule = PipelineSchedule::automatic;
};

enum class Routing : std::uint8_t { learned, even };
enum class Overlap : std::uint8_t { none, halves };

struct Moe {  // [moe]
  double aux_loss_coeff = 0, z_loss_coeff = 0;
  Routing routing = Routing::learned;
  Overlap overlap = Overlap::none;
};

struct Lora {  // [lora], present or absent as a whole
  std::int64_t rank = 8;
  double alpha = 32, dropout = 0.05;
  std::vector<std::string> targets = {"all-linear"};
  bool rslora = false;
  std::string adapter;
};

struct Checkpoint {             // [checkpoint]
  std::int64_t interval = 500;  // iterations; the last one is always saved. 0: nothing is
  std::int64_t keep = 2;
  /// What training goes on from: moments, and fp32 weights where those of the model are bf16. Without it a
  /// checkpoint holds the model alone, as it computes.
  bool optimizer = true;
  bool rng = true;
  std::string resume = "auto";  // auto, never, or a path

  [[nodiscard]] bool saves() const { return interval > 0; }
};

struct Eval {                 // [eval]
  std::int64_t interval = 0;  // 0: never
};

enum class Progress : std::uint8_t { automatic, bar, lines };

struct LogSettings {  // [log]
  std::int64_t interval = 1;
  bool tensorboard = true;
  Progress progress = Progress::automatic;
};

enum class Fabric : std::uint8_t { automatic, infiniband, roce, ethernet };

struct Cluster {  // [cluster]
  Fabric fabric = Fabric::automatic;
  std::string interface = "auto";
  double timeout_seconds = 600;
};

/// A whole job. Parsed once, validated as a whole, then never changed.
struct Job {
  General general;
  Model model;
  Data data;
  Objective objective;
  Train train;
  Optimizer optimizer;
  Parallel parallel;
  Moe moe;
  std::optional<Lora> lora;
  Checkpoint checkpoint;
  Eval eval;
  LogSettings log;
  Cluster cluster;

  /// Where each setting that was given stands: "parallel.expert" -> "job.toml:14:9" (or "--set"). Later
  /// rules, which need the model's sizes, name it in their messages.
  std::map<std::string, std::string> places;
  /// The place of a key that was given, the file's name for one that was not.
  [[nodiscard]] std::string place_of(const std::string& key) const;
  std::string file;        // as given on the command line
  std::string started_on;  // the day on rank 0 when the run began, "25 Nov 2026"; no setting
};

/// Something wrong with a job. `text` is the whole line without the place.
struct Problem {
  std::string place;  // "job.toml:14:9"
  std::string text;   // "parallel.expert = 6 does not divide ... (use 1, 2, 4)"
};

/// What a person reads: one line a problem, place first; the last line counts them.
[[nodiscard]] std::string problems_text(std::span<const Problem> problems);

/// Sorts by place: what the file lacks, then the file from its top, then --set in the order given.
void sort_by_place(std::span<Problem> problems);

}  // namespace moebius::job

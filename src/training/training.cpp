#include "training/training.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cluster/stop.h"
#include "job/write.h"
#include "plan/plan.h"
#include "training/hardware.h"
#include "training/memory_check.h"
#include "training/objective.h"
#include "training/progress.h"
#include "training/run_files.h"
#include "training/step.h"
#include "training/tensorboard.h"

namespace moebius::training {
namespace {

using cluster::Cluster;

cluster::Deadline deadline_of(const job::TimeLimit& limit, const cluster::Environment& environment) {
  switch (limit.kind) {
    case job::TimeLimit::Kind::automatic: return cluster::Deadline::of_queue(environment);
    case job::TimeLimit::Kind::given: return cluster::Deadline::after(limit.seconds);
    case job::TimeLimit::Kind::none: return cluster::Deadline::never();
  }
  throw std::logic_error("a time limit of no kind");
}

/// What the run writes for people and programs while it goes; on rank 0, nothing on the others.
class Journal {
 public:
  Journal(const job::Job& job, std::int64_t last_iteration, const Log& log) {
    if (!log.speaks()) return;
    const std::filesystem::path output = job.general.output;
    write_file(output / "job.toml", job::write_job(job));
    file_.emplace(output / "metrics.jsonl", last_iteration);
    if (job.log.tensorboard) board_.emplace(output / "tensorboard", last_iteration);
  }
  void write(const Metrics& metrics) {
    if (file_) file_->append(metrics);
    if (board_) board_->append(metrics);
  }

 private:
  std::optional<MetricsFile> file_;
  std::optional<TensorBoardFile> board_;
};

ProgressStyle style_of(job::Progress progress) {
  const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  if (progress == job::Progress::automatic) return is_terminal ? ProgressStyle::bar : ProgressStyle::lines;
  return progress == job::Progress::bar ? ProgressStyle::bar : ProgressStyle::lines;
}

/// The first sample as the model sees it: a look that finds most mistakes in data and templates.
void show_first_sample(const Datasets& datasets, const TextTools& text, const Log& log) {
  if (text.tokenizer == nullptr || datasets.train.count() == 0 || !log.speaks()) return;
  data::Sample sample;
  datasets.samples->read(datasets.train.samples.front(), sample);
  const char* what = sample.view().is_pair() ? "first pair, chosen" : "first sample";
  for (const data::SampleView& sequence : sample.view().sequences()) {
    std::vector<std::int32_t> trained;
    std::ranges::copy_if(sequence.labels, std::back_inserter(trained),
                         [](std::int32_t label) { return label != data::kNotTrained; });
    log.info("{} ({} tokens):\n{}", what, sequence.ids.size(),
             text.tokenizer->decode(sequence.ids, data::SpecialTokens::keep));
    log.info("of it trained ({} tokens):\n{}", trained.size(),
             text.tokenizer->decode(trained, data::SpecialTokens::keep));
    what = "first pair, rejected";
  }
}

/// The loop's own state, from the first step to the last.
template <Platform P>
class Loop {
 public:
  struct Parts {
    ModelState<P>& state;
    objectives::Objective<P>& objective;
    RunFiles<P>& files;
  };
  Loop(const Start& start, const Parts& parts, Cluster& cluster)
      : start_(start),
        state_(parts.state),
        files_(parts.files),
        cluster_(cluster),
        step_(start.job, parts.state, parts.objective, cluster) {}

  Outcome run(const Datasets& datasets, Place place, const cluster::Environment& environment, const Log& log);
  /// Of the steps done so far.
  [[nodiscard]] const Speed& speed() const { return speed_; }
  [[nodiscard]] double seconds_to_first_step() const { return seconds_to_first_step_; }

 private:
  void evaluate_when_due(Metrics& metrics, data::Batches& validation);
  void note_speed(std::int64_t iteration, const Log& log);
  void report_traffic(std::int64_t steps, const Log& log);
  void save(Place place);
  void expect_saved(Place place, const std::string& reason) const;
  [[nodiscard]] bool is_due(std::int64_t interval, std::int64_t iteration) const {
    return interval > 0 && (iteration % interval == 0 || iteration == iterations_);
  }

  const Start& start_;
  ModelState<P>& state_;
  RunFiles<P>& files_;
  Cluster& cluster_;
  Step<P> step_;
  std::int64_t iterations_ = 0;
  double iteration_seconds_ = 0, save_seconds_ = 0;  // the longest so far
  Speed speed_;
  double seconds_to_first_step_ = 0;  // from the start of the program
};

template <Platform P>
void Loop<P>::evaluate_when_due(Metrics& metrics, data::Batches& validation) {
  if (!is_due(start_.job.eval.interval, metrics.iteration) || validation.packs() == 0) return;
  const Stopwatch watch;
  metrics.add("eval_loss", step_.evaluate(validation));
  metrics.add("eval_seconds", watch.seconds());
}

template <Platform P>
void Loop<P>::note_speed(std::int64_t iteration, const Log& log) {
  if (speed_.first() == 0) {
    seconds_to_first_step_ = seconds_since_start();
    log.info("first step done after {:.1f} s", seconds_to_first_step_);
  }
  speed_.add(iteration, step_.times());
}

/// Of each axis what the rank sends that sends most over it.
template <Platform P>
void Loop<P>::report_traffic(std::int64_t steps, const Log& log) {
  if (cluster_.size() == 1 || steps == 0) return;
  plan::AxisBytes most = step_.sent();
  cluster_.all_reduce("bytes sent", std::span<std::int64_t>(most), cluster::Reduction::max);
  for (std::int64_t& bytes : most) bytes /= steps;
  log.info("bytes that a rank sends in a step: {}", plan::traffic_text(most));
}

template <Platform P>
void Loop<P>::save(Place place) {
  const Stopwatch watch;
  files_.save(state_, place);
  save_seconds_ = std::max(save_seconds_, watch.seconds());
}

/// A run that stops early goes on from its checkpoint, where it writes any.
template <Platform P>
void Loop<P>::expect_saved(Place place, const std::string& reason) const {
  if (start_.job.checkpoint.saves()) return;
  throw cluster::AgreedError(
      ExitCode::failure,
      fmt::format("stopped early ({}) after iteration {} of {}, and nothing was saved, for {}", reason,
                  place.iteration, iterations_, job::setting_text(start_.job, "checkpoint.interval")));
}

template <Platform P>
Outcome Loop<P>::run(const Datasets& datasets, Place place, const cluster::Environment& environment,
                     const Log& log) {
  const job::Job& job = start_.job;
  const data::Batches::Settings settings{
      .sizes = {job.train.micro_batch_size, job.train.global_batch_size},
      .order = job.data.shuffle ? data::Order::shuffled : data::Order::as_in_file,
      .seed = job.general.seed};
  data::Batches batches(*datasets.samples, datasets.train, settings);
  data::Batches validation(*datasets.samples, datasets.validation, settings);
  iterations_ =
      job.train.iterations.value_or(place.iteration + batches.iterations(job.train.epochs, place.packs));
  cluster_.together("count the iterations", [&] {
    if (iterations_ > 0) return;
    throw UsageError(fmt::format(
        "{}  the data makes {} packs, less than one global batch of {} in {} epochs; lower "
        "train.global_batch_size or give train.iterations",
        job.place_of("train.global_batch_size"), batches.packs(), settings.sizes.global, job.train.epochs));
  });
  if (place.iteration >= iterations_) {
    log.info("nothing to do: all {} iterations are done", iterations_);
    return Outcome::finished;
  }
  const std::int64_t first = place.iteration;
  step_.set_iterations(iterations_);
  show_first_sample(datasets, start_.text, log);

  const cluster::StopSignals signals;
  const cluster::Deadline deadline = deadline_of(job.general.time_limit, environment);
  auto journal = cluster_.together("open the metrics",
                                   [&] { return std::make_unique<Journal>(job, place.iteration, log); });
  Progress progress(
      log, {.style = style_of(job.log.progress), .iterations = iterations_, .interval = job.log.interval});
  while (place.iteration < iterations_) {
    const Stopwatch watch;
    Metrics metrics = step_.train(batches, place.packs, place.iteration);
    note_speed(metrics.iteration, log);
    place = {place.iteration + 1, place.packs + settings.sizes.global};
    evaluate_when_due(metrics, validation);
    iteration_seconds_ = std::max(iteration_seconds_, watch.seconds());
    journal->write(metrics);
    progress.report(metrics, watch.seconds());

    const auto reason = cluster::stop_agreed(cluster_, signals, deadline, iteration_seconds_ + save_seconds_);
    const bool is_last = place.iteration == iterations_;
    if (job.checkpoint.saves() && (reason || is_due(job.checkpoint.interval, place.iteration) || is_last))
      save(place);
    if (reason || is_last) state_.adam.wait_for_all_weights(state_.queue);
    if (reason && !is_last) {
      progress.finish();
      report_traffic(place.iteration - first, log);
      expect_saved(place, *reason);
      log.info("stopped early ({}) after iteration {}; run the same command again to go on", *reason,
               place.iteration);
      return Outcome::stopped_early;
    }
  }
  progress.finish();
  report_traffic(place.iteration - first, log);
  log.info("done: {} iterations; memory: {}; process peak {}", iterations_, memory_text(state_),
           bytes_text(peak_resident_bytes()));
  return Outcome::finished;
}

/// With checkpoint.rng the random numbers of the checkpoint go on, whatever the job's seed says now.
void take_seed(const checkpoint::Contents& resumed, job::Job& job, const Log& log) {
  if (!job.checkpoint.rng || resumed.seed == job.general.seed) return;
  log.warning(
      "job.seed = {}, but the checkpoint was trained with {} and checkpoint.rng is on: going on with {}",
      job.general.seed, resumed.seed, resumed.seed);
  job.general.seed = resumed.seed;
}

/// Templates that write a date go on with the day on which the run began, so that its samples stay the same.
void take_date(const checkpoint::Contents& resumed, job::Job& job) {
  if (!resumed.started_on.empty()) job.started_on = resumed.started_on;
}

/// What a training goes on with once its mesh and its hardware are known.
struct Running {
  const Start& start;
  const cluster::Mesh& mesh;
  Cluster& cluster;
  const cluster::Environment& environment;
  const Log& log;
};

/// The last lines of the log, and <output>/speed.txt.
template <Platform P>
void report_speed(const Running& running, const Loop<P>& loop, const plan::Need& need,
                  const Hardware<P::kSpace>& hardware) {
  const auto& [start, mesh, cluster, environment, log] = running;
  if (loop.speed().first() == 0 || !log.speaks()) return;
  const plan::Machine machine = machine_of<P>(hardware, cluster);
  const models::MemoryFormat format = plan::format_of(start.job, machine);
  const models::Stages stages = plan::stages_of(start.job, start.config);
  SpeedFacts facts{
      .operations = plan::step_operations({.config = start.config,
                                           .mesh = mesh,
                                           .stages = stages,
                                           .format = format,
                                           .memory = need.memory,
                                           .load = loop.speed().mean().load,
                                           .extra = plan::extra_passes(start.job)}),
      .peaks = hardware.peaks(machine.precision),
      .hardware = hardware.peaks_text(),
      .ranks = mesh.size(),
      .memory = fmt::format("{}, {} planned", hardware.used_text(),
                            bytes_text(need.total() * (P::kSpace == Space::host ? 1 : machine.ranks))),
      .seconds_to_first_step = loop.seconds_to_first_step()};
  const std::string text = speed_text(loop.speed(), facts);
  log.info("{}", text);
  write_file(std::filesystem::path(start.job.general.output) / "speed.txt", text + "\n");
}

template <Platform P>
Outcome train_on(const Running& running, Hardware<P::kSpace>& hardware) {
  const auto& [given, mesh, cluster, environment, log] = running;
  Start start = given;  // the job's seed and its day may become those of the checkpoint
  job::Job& job = start.job;
  const std::filesystem::path output = job.general.output;
  const checkpoint::OutputLock lock(output, cluster, log);
  RunFiles<P> files(start, cluster, log);
  if (const auto resumed = files.peek()) {
    take_seed(*resumed, job, log);
    take_date(*resumed, job);
  }
  const bool saves = job.checkpoint.saves();
  checkpoint::check_output(output, saves ? files.checkpoint_bytes(plan::trained_table(job, start.config)) : 0,
                           cluster);

  const Datasets datasets = prepare_datasets(job, start.text, cluster, log);
  const plan::Need planned = check_memory<P>(
      {.job = job, .config = start.config, .mesh = mesh, .datasets = datasets}, hardware, cluster, log);
  auto exchange = hardware.make_exchange(cluster, mesh);
  const auto state = cluster.together("take the memory", [&] {
    auto made = std::make_unique<ModelState<P>>(job, start.config, std::move(exchange), hardware.queue());
    made->reserve(planned.memory);
    return made;
  });
  const auto objective = make_objective<P>(start, datasets, *state, cluster, log);
  const Place place = files.load(*state);
  Loop<P> loop(start, {*state, *objective, files}, cluster);
  Outcome outcome = Outcome::finished;
  running.cluster.or_end_job([&] { outcome = loop.run(datasets, place, running.environment, running.log); });
  cluster.together("write speed.txt", [&] { report_speed(running, loop, planned, hardware); });
  return outcome;
}

/// What learns, where it is not the model.
void report_adapter(const Start& start, plan::Precision precision, const Log& log) {
  const auto adapter = plan::adapter_of(start.job);
  if (!adapter) return;
  log.info("an adapter of {} parameters learns beside {} that do not",
           plan::numbers_of(start.config, *adapter).parameters, plan::numbers_of(start.config).parameters);
  constexpr std::int64_t multiple = 8;  // kernels/moe/device/grouped_launch.cuh
  if (precision == plan::Precision::bf16 && start.config.experts > 0 && adapter->rank % multiple != 0)
    log.warning("lora.rank = {} is no multiple of {}: the products of experts' factors take a slower way",
                adapter->rank, multiple);
}

}  // namespace

Outcome train(const Start& start, Cluster& cluster, const cluster::Environment& environment, const Log& log) {
  const auto mesh = cluster.together("check the mesh", [&] {
    plan::check_against_model(start.job, start.config);
    return plan::mesh_of(start.job, cluster.size(), cluster.rank());
  });
  log.info("{}", cluster::describe(cluster, mesh));
  cluster.watchdog().use(mesh);
  cluster.watchdog().set_timeout(cluster::Watchdog::Seconds(start.job.cluster.timeout_seconds));

  const Compute compute = choose_compute(wish_of(start.job), cluster);
  const plan::Precision precision = compute.in_bf16() ? plan::Precision::bf16 : plan::Precision::fp32;
  cluster.together("check the precision", [&] { plan::check_against_precision(start.job, precision); });
  report_adapter(start, precision, log);
  const Running running{start, mesh, cluster, environment, log};
  return on_platform(compute.platform, [&]<class P>(std::type_identity<P>) {
    const auto hardware =
        cluster.together("open the hardware", [&] { return std::make_unique<Hardware<P::kSpace>>(compute); });
    log.info("computing on {}", hardware->text());
    return train_on<P>(running, *hardware);
  });
}

}  // namespace moebius::training

#include "job/schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <type_traits>

#include "job/duration.h"
#include "job/names.h"

namespace moebius::job {
namespace {

// How a member of job.h is a Value and back.
template <class T, Type kKind>
struct Plain {
  static constexpr Type kType = kKind;
  static constexpr std::span<const std::string_view> kChoices{};
  static Value get(const T& member) { return member; }
  static void set(T& member, const Value& value) { member = std::get<T>(value); }
};

template <class T>
struct Codec {  // an enumeration
  static constexpr Type kType = Type::word;
  static constexpr std::span<const std::string_view> kChoices{kWords<T>};
  static Value get(const T& member) { return std::string(to_word(member)); }
  static void set(T& member, const Value& value) {
    const auto word = std::ranges::find(kChoices, std::get<std::string>(value));
    member = T(word - kChoices.begin());
  }
};
template <>
struct Codec<bool> : Plain<bool, Type::boolean> {};
template <>
struct Codec<std::int64_t> : Plain<std::int64_t, Type::integer> {};
template <>
struct Codec<double> : Plain<double, Type::number> {};
template <>
struct Codec<std::string> : Plain<std::string, Type::text> {};
template <>
struct Codec<std::vector<std::string>> : Plain<std::vector<std::string>, Type::texts> {};
template <>
struct Codec<std::map<std::string, std::string>> : Plain<std::map<std::string, std::string>, Type::mapping> {
};

template <class T>
struct Codec<std::optional<T>> {
  static constexpr Type kType = Codec<T>::kType;
  static constexpr std::span<const std::string_view> kChoices{};
  static Value get(const std::optional<T>& member) { return member ? Value(*member) : Value(); }
  static void set(std::optional<T>& member, const Value& value) {
    const T* given = std::get_if<T>(&value);
    member = given != nullptr ? std::optional<T>(*given) : std::nullopt;
  }
};

template <>
struct Codec<TimeLimit> {
  static constexpr Type kType = Type::duration;
  static constexpr std::array<std::string_view, 2> kLimitWords{"auto",
                                                               "none"};  // the order of TimeLimit::Kind
  static constexpr std::span<const std::string_view> kChoices{kLimitWords};
  static Value get(const TimeLimit& limit) {
    if (limit.kind == TimeLimit::Kind::given) return duration_text(limit.seconds);
    return std::string(kLimitWords[std::size_t(limit.kind)]);
  }
  static void set(TimeLimit& limit, const Value& value) {
    const auto& text = std::get<std::string>(value);
    const auto word = std::ranges::find(kLimitWords, text);
    limit.kind = TimeLimit::Kind(word - kLimitWords.begin());
    limit.seconds = parse_duration(text).value_or(0);
  }
};

struct Seconds {
  static constexpr Type kType = Type::duration;
  static constexpr std::span<const std::string_view> kChoices{};
  static Value get(const double& seconds) { return duration_text(seconds); }
  static void set(double& seconds, const Value& value) {
    seconds = parse_duration(std::get<std::string>(value)).value_or(seconds);
  }
};

// Where a member stands in a Job: a member of a section, which is a member of the Job.
template <class Member>
struct ClassOf;
template <class T, class Class>
struct ClassOf<T Class::*> {
  using Type = T;
};
template <auto kMember>
using TypeOf = typename ClassOf<decltype(kMember)>::Type;

template <auto kSection>
constexpr bool kIsOptional = false;
template <>
constexpr bool kIsOptional<&Job::lora> = true;

template <auto kSection, auto kMember, class Convert>
Value get(const Job& job) {
  if constexpr (kIsOptional<kSection>) {
    const auto& section = job.*kSection;
    return section ? Convert::get((*section).*kMember) : Value();
  } else {
    return Convert::get(job.*kSection.*kMember);
  }
}

template <auto kSection, auto kMember, class Convert>
void set(Job& job, const Value& value) {
  if constexpr (kIsOptional<kSection>) {
    auto& section = job.*kSection;
    if (!section) section.emplace();
    Convert::set((*section).*kMember, value);
  } else {
    Convert::set(job.*kSection.*kMember, value);
  }
}

template <auto kSection, auto kMember, class Convert = Codec<TypeOf<kMember>>>
constexpr Key row(std::string_view path, Interval bounds = {}, std::string_view instead_of = {}) {
  return {.path = path,
          .type = Convert::kType,
          .words = Convert::kChoices,
          .bounds = bounds,
          .instead_of = instead_of,
          .get = get<kSection, kMember, Convert>,
          .set = set<kSection, kMember, Convert>};
}

// The one value that two members share.
Value get_betas(const Job& job) {
  return std::vector<double>{job.optimizer.beta1, job.optimizer.beta2};
}
void set_betas(Job& job, const Value& value) {
  const auto& betas = std::get<std::vector<double>>(value);
  job.optimizer.beta1 = betas[0], job.optimizer.beta2 = betas[1];
}

constexpr Interval at_least(double low) {
  return {.low = low};
}
constexpr Interval above(double low) {
  return {.low = low, .holds_low = false};
}
constexpr Interval from_zero_to_one() {
  return {.low = 0, .high = 1};
}
constexpr Interval from_zero_below(double high) {
  return {.low = 0, .high = high, .holds_high = false};
}

constexpr std::array kSchema{
    row<&Job::general, &General::name>("job.name"),
    row<&Job::general, &General::output>("job.output"),
    row<&Job::general, &General::seed>("job.seed", at_least(0)),
    row<&Job::general, &General::time_limit>("job.time_limit"),

    row<&Job::model, &Model::path>("model.path"),
    row<&Job::model, &Model::config>("model.config"),
    row<&Job::model, &Model::tokenizer>("model.tokenizer"),
    row<&Job::model, &Model::init>("model.init"),
    row<&Job::model, &Model::precision>("model.precision"),
    row<&Job::model, &Model::device>("model.device"),

    row<&Job::data, &Data::train>("data.train"),
    row<&Job::data, &Data::validation>("data.validation"),
    row<&Job::data, &Data::validation_fraction>("data.validation_fraction", from_zero_below(1)),
    row<&Job::data, &Data::template_name>("data.template"),
    row<&Job::data, &Data::agent_template>("data.agent_template"),
    row<&Job::data, &Data::loss_scale>("data.loss_scale"),
    row<&Job::data, &Data::is_binary_loss_scale>("data.is_binary_loss_scale"),
    row<&Job::data, &Data::system>("data.system"),
    row<&Job::data, &Data::max_length>("data.max_length", at_least(2)),
    row<&Job::data, &Data::truncation>("data.truncation"),
    row<&Job::data, &Data::packing>("data.packing"),
    row<&Job::data, &Data::shuffle>("data.shuffle"),
    row<&Job::data, &Data::model_name>("data.model_name"),
    row<&Job::data, &Data::model_author>("data.model_author"),
    row<&Job::data, &Data::enable_thinking>("data.enable_thinking"),
    row<&Job::data, &Data::preserve_thinking>("data.preserve_thinking"),
    row<&Job::data, &Data::add_non_thinking_prefix>("data.add_non_thinking_prefix"),
    row<&Job::data, &Data::response_prefix>("data.response_prefix"),
    row<&Job::data, &Data::disable_ignore_empty_think>("data.disable_ignore_empty_think"),
    row<&Job::data, &Data::columns>("data.columns"),

    row<&Job::objective, &Objective::kind>("objective.kind"),
    row<&Job::objective, &Objective::loss>("objective.loss"),
    row<&Job::objective, &Objective::beta>("objective.beta", above(0)),
    row<&Job::objective, &Objective::rpo_alpha>("objective.rpo_alpha", at_least(0)),
    row<&Job::objective, &Objective::label_smoothing>("objective.label_smoothing", from_zero_below(0.5)),
    row<&Job::objective, &Objective::reference>("objective.reference"),
    row<&Job::objective, &Objective::reference_cache>("objective.reference_cache"),

    row<&Job::train, &Train::micro_batch_size>("train.micro_batch_size", at_least(1)),
    row<&Job::train, &Train::global_batch_size>("train.global_batch_size", at_least(1)),
    row<&Job::train, &Train::epochs>("train.epochs", above(0)),
    row<&Job::train, &Train::iterations>("train.iterations", at_least(1), "train.epochs"),
    row<&Job::train, &Train::recompute>("train.recompute"),
    row<&Job::train, &Train::recompute_layers>("train.recompute_layers", at_least(1)),

    row<&Job::optimizer, &Optimizer::lr>("optimizer.lr", at_least(0)),
    row<&Job::optimizer, &Optimizer::min_lr>("optimizer.min_lr", at_least(0)),
    row<&Job::optimizer, &Optimizer::schedule>("optimizer.schedule"),
    row<&Job::optimizer, &Optimizer::warmup_fraction>("optimizer.warmup_fraction", from_zero_to_one()),
    row<&Job::optimizer, &Optimizer::weight_decay>("optimizer.weight_decay", at_least(0)),
    Key{.path = "optimizer.betas",
        .type = Type::pair,
        .bounds = from_zero_below(1),
        .get = get_betas,
        .set = set_betas},
    row<&Job::optimizer, &Optimizer::epsilon>("optimizer.epsilon", above(0)),
    row<&Job::optimizer, &Optimizer::clip_norm>("optimizer.clip_norm", above(0)),
    row<&Job::optimizer, &Optimizer::master>("optimizer.master"),
    row<&Job::optimizer, &Optimizer::moments>("optimizer.moments"),
    row<&Job::optimizer, &Optimizer::gradients>("optimizer.gradients"),

    row<&Job::parallel, &Parallel::tensor>("parallel.tensor", at_least(1)),
    row<&Job::parallel, &Parallel::sequence>("parallel.sequence"),
    row<&Job::parallel, &Parallel::pipeline>("parallel.pipeline", at_least(1)),
    row<&Job::parallel, &Parallel::virtual_pipeline>("parallel.virtual_pipeline", at_least(1)),
    row<&Job::parallel, &Parallel::schedule>("parallel.schedule"),
    row<&Job::parallel, &Parallel::context>("parallel.context", at_least(1)),
    row<&Job::parallel, &Parallel::expert>("parallel.expert", at_least(1)),
    row<&Job::parallel, &Parallel::expert_tensor>("parallel.expert_tensor", at_least(1)),

    row<&Job::moe, &Moe::aux_loss_coeff>("moe.aux_loss_coeff", at_least(0)),
    row<&Job::moe, &Moe::z_loss_coeff>("moe.z_loss_coeff", at_least(0)),
    row<&Job::moe, &Moe::routing>("moe.routing"),
    row<&Job::moe, &Moe::overlap>("moe.overlap"),

    row<&Job::lora, &Lora::rank>("lora.rank", at_least(1)),
    row<&Job::lora, &Lora::alpha>("lora.alpha", above(0)),
    row<&Job::lora, &Lora::dropout>("lora.dropout", from_zero_below(1)),
    row<&Job::lora, &Lora::targets>("lora.targets"),
    row<&Job::lora, &Lora::rslora>("lora.rslora"),
    row<&Job::lora, &Lora::adapter>("lora.adapter"),

    row<&Job::checkpoint, &Checkpoint::interval>("checkpoint.interval", at_least(0)),
    row<&Job::checkpoint, &Checkpoint::keep>("checkpoint.keep", at_least(1)),
    row<&Job::checkpoint, &Checkpoint::optimizer>("checkpoint.optimizer"),
    row<&Job::checkpoint, &Checkpoint::rng>("checkpoint.rng"),
    row<&Job::checkpoint, &Checkpoint::resume>("checkpoint.resume"),

    row<&Job::eval, &Eval::interval>("eval.interval", at_least(0)),

    row<&Job::log, &LogSettings::interval>("log.interval", at_least(1)),
    row<&Job::log, &LogSettings::tensorboard>("log.tensorboard"),
    row<&Job::log, &LogSettings::progress>("log.progress"),

    row<&Job::cluster, &Cluster::fabric>("cluster.fabric"),
    row<&Job::cluster, &Cluster::interface>("cluster.interface"),
    row<&Job::cluster, &Cluster::timeout_seconds, Seconds>("cluster.timeout"),
};

}  // namespace

bool Interval::contains(double value) const {
  if (!std::isfinite(value)) return false;
  const bool high_enough = holds_low ? value >= low : value > low;
  const bool low_enough = holds_high ? value <= high : value < high;
  return high_enough && low_enough;
}

std::string Interval::text() const {
  std::string lower, upper;
  if (std::isfinite(low)) lower = fmt::format("{} {}", holds_low ? "at least" : "above", low);
  if (std::isfinite(high)) upper = fmt::format("{} {}", holds_high ? "at most" : "below", high);
  if (lower.empty() && upper.empty()) return "a finite number";
  return lower + (lower.empty() || upper.empty() ? "" : " and ") + upper;
}

std::span<const Key> schema() {
  return kSchema;
}

const Key* find_key(std::string_view path) {
  const auto found = std::ranges::find(kSchema, path, &Key::path);
  return found == kSchema.end() ? nullptr : &*found;
}

std::vector<std::string> section_names() {
  std::vector<std::string> names;
  for (const Key& key : kSchema) {
    if (names.empty() || names.back() != key.section()) names.emplace_back(key.section());
  }
  return names;
}

Value default_value(const Key& key) {
  Job job;
  job.lora.emplace();
  return key.get(job);
}

}  // namespace moebius::job

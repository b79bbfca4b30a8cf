#include "job/schema.h"

#include <fmt/format.h>
#include <limits>
#include <set>

#include "job/names.h"
#include "job/parse.h"
#include "job/write.h"
#include "tests/support/catch.h"

namespace moebius::job {
namespace {

/// Values of a key that differ from its default and from each other: odd texts, bounds, extreme numbers.
std::vector<Value> samples(const Key& key) {
  const std::string odd = "q\"uo\\te ' # = [x]\nline\ttab \x01 \x7f ü 中 🙂";
  switch (key.type) {
    case Type::boolean: return {true, false};
    case Type::integer: return {std::int64_t(key.bounds.low) + 1, std::int64_t{9007199254740993}};
    case Type::number: return {0.1, 0.30000000000000004, 1e-300, 0.25};
    case Type::text: return {odd, std::string("123"), std::string("true"), std::string("plain")};
    case Type::word: {
      std::vector<Value> words;
      for (const std::string_view word : key.words) words.emplace_back(std::string(word));
      return words;
    }
    case Type::duration: {
      std::vector<Value> values{std::string("26h"), std::string("1h1m1s"), std::string("90s")};
      for (const std::string_view word : key.words) values.emplace_back(std::string(word));
      values[2] = std::string("1m30s");
      return values;
    }
    case Type::pair: return {std::vector<double>{0, 0.999}, std::vector<double>{0.1, 1e-7}};
    case Type::texts: return {std::vector<std::string>{}, std::vector<std::string>{odd, "b.jsonl#5"}};
    case Type::mapping:
      return {std::map<std::string, std::string>{{"a key.with \"", odd}, {"prompt", "query"}}};
  }
  return {};
}

void check_same(const Job& job, const Job& other) {
  for (const Key& key : schema()) {
    INFO(key.path);
    CHECK(key.get(job) == key.get(other));
  }
  CHECK(job.lora.has_value() == other.lora.has_value());
}

TEST_CASE("a written job is read back as the same job, whatever one key says", "[job]") {
  for (const Key& key : schema()) {
    for (const Value& value : samples(key)) {
      Job job;
      key.set(job, value);
      CHECK(key.get(job) == value);
      const std::string text = write_job(job);
      INFO(text);
      const Parsed parsed = parse_job(text, "job.toml");
      CHECK(problems_text(parsed.problems) == "0 problems, nothing was started");
      check_same(job, parsed.job);
      CHECK(write_job(parsed.job) == text);
    }
  }
}

TEST_CASE("an override says what the file would say", "[job]") {
  for (const Key& key : schema()) {
    for (const Value& value : samples(key)) {
      Job job;
      key.set(job, value);
      if (job.objective.kind == ObjectiveKind::dpo) job.data.loss_scale = "last_round";  // its default
      const std::vector<std::string> overrides{fmt::format("{}={}", key.path, value_text(value))};
      const Parsed parsed = parse_job("", "job.toml", overrides);
      CHECK(problems_text(parsed.problems) == "0 problems, nothing was started");
      check_same(job, parsed.job);
      CHECK(parsed.job.place_of(std::string(key.path)) == "--set " + std::string(key.path));
    }
  }
}

TEST_CASE("keys stand once, section by section, each default within its own bounds", "[job]") {
  std::set<std::string_view> paths;
  for (const Key& key : schema()) {
    INFO(key.path);
    CHECK(paths.insert(key.path).second);
    CHECK(find_key(key.path) == &key);
    const Value value = default_value(key);
    if (const auto* number = std::get_if<double>(&value)) CHECK(key.bounds.contains(*number));
    if (const auto* integer = std::get_if<std::int64_t>(&value)) CHECK(key.bounds.contains(double(*integer)));
    if (!key.instead_of.empty()) CHECK(find_key(key.instead_of) != nullptr);
  }
  const std::vector<std::string> sections = section_names();
  CHECK(std::set<std::string>(sections.begin(), sections.end()).size() == sections.size());
  CHECK(find_key("parallel.expret") == nullptr);
  CHECK(find_key("parallel") == nullptr);
}

TEST_CASE("words and enumerators stand in one order", "[job]") {
  CHECK(to_word(Precision::bf16) == "bf16");
  CHECK(to_word(Device::cuda) == "cuda");
  CHECK(to_word(Init::random) == "random");
  CHECK(to_word(Truncation::remove) == "delete");
  CHECK(to_word(Truncation::split) == "split");
  CHECK(to_word(ObjectiveKind::pretrain) == "pretrain");
  CHECK(to_word(PreferenceLoss::ipo) == "ipo");
  CHECK(to_word(Recompute::selective) == "selective");
  CHECK(to_word(Schedule::constant) == "constant");
  CHECK(to_word(Master::remainder16) == "remainder16");
  CHECK(to_word(StateType::bf16) == "bf16");
  CHECK(to_word(Routing::even) == "even");
  CHECK(to_word(Progress::lines) == "lines");
  CHECK(to_word(Fabric::roce) == "roce");
}

TEST_CASE("intervals say in words what they hold", "[job]") {
  CHECK(Interval{}.text() == "a finite number");
  CHECK(Interval{.low = 1}.text() == "at least 1");
  CHECK(Interval{.low = 0, .holds_low = false}.text() == "above 0");
  CHECK(Interval{.low = 0, .high = 0.5, .holds_high = false}.text() == "at least 0 and below 0.5");
  const Interval below_one{.low = 0, .high = 1, .holds_high = false};
  CHECK(below_one.contains(0));
  CHECK_FALSE(below_one.contains(1));
  CHECK_FALSE(Interval{}.contains(std::numeric_limits<double>::quiet_NaN()));
  CHECK_FALSE(Interval{}.contains(std::numeric_limits<double>::infinity()));
}

}  // namespace
}  // namespace moebius::job

#include "models/adapter.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fnmatch.h>
#include <set>
#include <unordered_set>

#include "base/text.h"

namespace moebius::models {
namespace {

constexpr std::string_view kAllLinear = "all-linear", kAllRouters = "all-router";
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kPrefix = "base_model.model.";  // PEFT's, before a module's name

/// "model.layers.3.self_attn.q_proj" of "model.layers.3.self_attn.q_proj.weight".
std::string module_of(const std::string& hub_name) {
  return hub_name.substr(0, hub_name.size() - kWeight.size());
}

std::string end_of(const std::string& module) {
  return module.substr(module.rfind('.') + 1);
}

/// Which modules a list of targets means.
class Targets {
 public:
  explicit Targets(const std::vector<std::string>& targets) {
    for (const std::string& target : targets) {
      const bool is_pattern = target.find_first_of("*?") != std::string::npos;
      if (is_pattern)
        patterns_.push_back(target);
      else
        names_.insert(target);
    }
  }

  /// Calls use(target) for each that means the module.
  template <class Use>
  void each_of(const std::string& module, Role role, const Use& use) const {
    const auto name = [&](std::string_view text) {
      if (const auto found = names_.find(std::string(text)); found != names_.end()) use(*found);
    };
    if (role == Role::linear) name(kAllLinear);
    if (role == Role::router) name(kAllRouters);
    name(module);
    for (std::size_t dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1))
      name(std::string_view(module).substr(dot + 1));
    for (const std::string& pattern : patterns_) {
      const bool fits = ::fnmatch(pattern.c_str(), module.c_str(), 0) == 0 ||
                        ::fnmatch(("*." + pattern).c_str(), module.c_str(), 0) == 0;
      if (fits) use(pattern);
    }
  }
  [[nodiscard]] bool choose(const std::string& module, Role role) const {
    bool chosen = false;
    each_of(module, role, [&](const std::string&) { chosen = true; });
    return chosen;
  }

 private:
  std::unordered_set<std::string> names_;
  std::vector<std::string> patterns_;
};

/// The modules that one weight consists of, of each kind: [hub names of the parameter][experts].
std::vector<std::vector<std::string>> modules_of(const Parameter& parameter) {
  std::vector<std::vector<std::string>> modules(parameter.hub.size());
  const std::vector<HubTensor> tensors = hub_tensors(parameter);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    modules[i % modules.size()].push_back(module_of(tensors[i].name));
  return modules;
}

/// The first of one kind, which stands for the others where the targets have no problems.
std::string first_module(const Parameter& parameter, std::size_t part) {
  constexpr std::string_view expert = "{expert}";
  std::string name = module_of(parameter.hub[part]);
  if (const std::size_t place = name.find(expert); place != std::string::npos)
    name.replace(place, expert.size(), "0");
  return name;
}

bool can_have_one(const Parameter& parameter) {
  return parameter.role == Role::linear || parameter.role == Role::router;
}

/// Calls use(parameter, modules) for every kind of module in the table.
template <class Use>
void each_module(const ParameterTable& model, const Use& use) {
  for (const Parameter& parameter : model) {
    if (parameter.role == Role::other) continue;
    const auto modules = modules_of(parameter);
    for (const std::vector<std::string>& of_kind : modules) use(parameter, of_kind);
  }
}

/// Rows of the factors of one weight, or of one of its modules.
class FactorRows {
 public:
  FactorRows(const Parameter& parameter, std::size_t part, std::int64_t rank)
      : parameter_(parameter), hub_(module_of(parameter.hub[part])), rank_(rank) {
    name_ = module_names(parameter)[part];
    const std::size_t dims = parameter.shape.size();
    out_ = int(dims) - 2;
    in_ = int(dims) - 1;
    const bool per_expert = hub_.find("{expert}") != std::string::npos;
    if (per_expert) leading_.push_back(parameter.shape.front());
  }

  [[nodiscard]] Parameter a() const {
    // Kaiming's uniform numbers with a = sqrt(5), PEFT's start values, have this deviation.
    const double deviation = 1 / std::sqrt(3.0 * double(parameter_.shape[std::size_t(in_)]));
    Parameter row = make("a", "lora_A", rank_, parameter_.shape[std::size_t(in_)]);
    row.init = {InitialValue::Kind::normal, deviation};
    split(row, in_, int(row.shape.size()) - 1);
    return row;
  }
  [[nodiscard]] Parameter b() const {
    Parameter row = make("b", "lora_B", parameter_.shape[std::size_t(out_)], rank_);
    row.init = {InitialValue::Kind::zeros, 0};
    split(row, out_, int(row.shape.size()) - 2);
    return row;
  }

 private:
  [[nodiscard]] Parameter make(const char* name, const char* hub, std::int64_t rows,
                               std::int64_t columns) const {
    Parameter row{.name = fmt::format("{}.{}", name_, name),
                  .hub = {fmt::format("{}{}.{}.weight", kPrefix, hub_, hub)},
                  .shape = leading_,
                  .site = parameter_.site};
    row.shape.push_back(rows);
    row.shape.push_back(columns);
    return row;
  }
  /// As the weight's dim `from`, and over the experts.
  void split(Parameter& row, int from, int to) const {
    for (const Split& one : parameter_.splits) {
      if (!leading_.empty() && one.dim == 0)
        row.splits.push_back(one);
      else if (one.dim == from)
        row.splits.push_back({one.axis, to});
    }
  }

  const Parameter& parameter_;
  std::string hub_, name_;
  std::int64_t rank_;
  int out_ = 0, in_ = 0;               // dims of the weight
  std::vector<std::int64_t> leading_;  // experts, where there are any
};

std::string some_ends(const ParameterTable& model) {
  std::set<std::string> ends;
  each_module(model, [&](const Parameter& parameter, const std::vector<std::string>& modules) {
    if (can_have_one(parameter)) ends.insert(end_of(modules.front()));
  });
  return join(std::vector<std::string>(ends.begin(), ends.end()));
}

}  // namespace

double AdapterSettings::scale() const {
  return alpha / (scaling == Scaling::by_rank ? double(rank) : std::sqrt(double(rank)));
}

std::vector<std::string> module_names(const Parameter& parameter) {
  if (parameter.hub.size() == 1) return {parameter.name};
  std::vector<std::string> names;
  for (const std::string& hub : parameter.hub) names.push_back(parameter.name + "." + end_of(module_of(hub)));
  return names;
}

ParameterTable adapter_table(const ParameterTable& model, const AdapterSettings& settings) {
  const Targets targets(settings.targets);
  ParameterTable table;
  for (const Parameter& parameter : model) {
    if (!can_have_one(parameter)) continue;
    for (std::size_t part = 0; part < parameter.hub.size(); ++part) {
      if (!targets.choose(first_module(parameter, part), parameter.role)) continue;
      const FactorRows rows(parameter, part, settings.rank);
      table.push_back(rows.a());
      table.push_back(rows.b());
    }
  }
  return table;
}

std::vector<std::string> target_problems(const ParameterTable& model,
                                         const std::vector<std::string>& targets) {
  std::vector<std::string> problems;
  const std::string known = "(there are all-linear, all-router, " + some_ends(model) + ")";
  if (targets.empty()) problems.push_back("is empty: no layer gets an adapter " + known);
  const Targets all(targets);
  std::unordered_set<std::string> used, wrong;
  each_module(model, [&](const Parameter& parameter, const std::vector<std::string>& modules) {
    std::size_t chosen = 0;
    for (const std::string& module : modules) {
      bool is_chosen = false;
      all.each_of(module, parameter.role, [&](const std::string& target) {
        is_chosen = true;
        used.insert(target);
        if (can_have_one(parameter) || !wrong.insert(target).second) return;
        problems.push_back(fmt::format(
            "'{}' means '{}': adapters of the vocabulary's tables are not built {}", target, module, known));
      });
      chosen += is_chosen ? 1 : 0;
    }
    if (chosen == 0 || chosen == modules.size()) return;
    problems.push_back(fmt::format(
        "means {} of {} experts such as '{}': adapters of some experts of a layer are not built (choose all)",
        chosen, modules.size(), modules.front()));
  });
  for (const std::string& target : targets) {
    if (!used.contains(target))
      problems.push_back(fmt::format("'{}' is no linear layer of the model {}", target, known));
  }
  return problems;
}

std::vector<std::string> target_modules(const ParameterTable& model,
                                        const std::vector<std::string>& targets) {
  const Targets wanted(targets);
  std::set<std::string> ends, whole;
  each_module(model, [&](const Parameter& parameter, const std::vector<std::string>& modules) {
    if (!can_have_one(parameter) || !wanted.choose(modules.front(), parameter.role)) return;
    ends.insert(end_of(modules.front()));
    whole.insert(modules.begin(), modules.end());
  });
  const std::vector<std::string> by_end(ends.begin(), ends.end());
  const Targets shorter(by_end);
  bool is_same = true;
  each_module(model, [&](const Parameter& parameter, const std::vector<std::string>& modules) {
    const bool is_chosen = can_have_one(parameter) && whole.contains(modules.front());
    is_same = is_same && shorter.choose(modules.front(), parameter.role) == is_chosen;
  });
  return is_same ? by_end : std::vector<std::string>(whole.begin(), whole.end());
}

}  // namespace moebius::models

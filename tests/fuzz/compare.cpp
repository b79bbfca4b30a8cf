#include "tests/fuzz/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <stdexcept>

#include "checkpoint/folder.h"
#include "job/load.h"
#include "models/adapter.h"
#include "models/models.h"
#include "plan/rules.h"
#include "tests/support/files.h"

namespace moebius::fuzz {
namespace {

using Json = nlohmann::json;

std::vector<Json> metrics_of(const std::filesystem::path& output) {
  std::vector<Json> rows;
  std::ifstream lines(output / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
  return rows;
}

/// The largest relative difference of a column. NaN is beyond every limit.
double worst_relative(const std::vector<Json>& mesh, const std::vector<Json>& alone, const char* name) {
  double worst = 0;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const double a = mesh[i].at(name).get<double>(), b = alone[i].at(name).get<double>();
    const double off = a == b ? 0 : std::abs(a - b) / std::abs(b);
    if (!(off <= worst)) worst = off;
  }
  return worst;
}

using Tensors = std::vector<std::vector<float>>;  // of the table's rows

Tensors read_tensors(const checkpoint::Reader& reader, std::string_view group,
                     const models::ParameterTable& table) {
  Tensors tensors;
  std::vector<checkpoint::Slab> whole;
  for (const models::Parameter& parameter : table) {
    tensors.emplace_back(std::size_t(parameter.size()));
    whole.push_back(checkpoint::whole_slab(parameter.shape));
  }
  reader.read(group, table, whole,
              [&](std::size_t index, const checkpoint::Slab& slab, const checkpoint::Elements& elements) {
                for (const checkpoint::Run& run : checkpoint::runs_inside(whole[index], slab)) {
                  std::memcpy(tensors[index].data() + run.whole,
                              elements.bytes.data() + std::size_t(run.local) * sizeof(float),
                              std::size_t(run.count) * sizeof(float));
                }
              });
  return tensors;
}

double norm(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += double(value) * value;
  return std::sqrt(sum);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a[i]) - b[i], 2);
  return std::sqrt(sum);
}

struct Worst {
  double off = 0;
  std::string parameter;
};

/// A parameter whose gradients cancel (the bias of keys) is rounding throughout: it is held against a
/// hundredth of what its elements would be if they were as large as all others.
Worst worst_tensor(const models::ParameterTable& table, const Tensors& mesh, const Tensors& alone) {
  double squares = 0, elements = 0;
  for (const auto& tensor : alone) {
    squares += std::pow(norm(tensor), 2);
    elements += double(tensor.size());
  }
  const double usual = 0.01 * std::sqrt(squares / elements);
  Worst worst;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double size = norm(alone[i]) + usual * std::sqrt(double(alone[i].size()));
    const double off = size == 0 ? 0 : distance(mesh[i], alone[i]) / size;
    if (!(off <= worst.off)) worst = {off, table[i].name};
  }
  return worst;
}

/// What the checkpoints hold.
models::ParameterTable learning_table(const JobFolder& folder, const models::ModelConfig& config) {
  const std::string file = folder.job(kAlone).string();
  const job::Job job =
      job::load_job({.text = test::slurp(file), .file = file, .overrides = {}}, job::Purpose::train);
  const models::ParameterTable whole = models::parameter_table(config);
  const auto adapter = plan::adapter_of(job);
  return adapter ? models::adapter_table(whole, *adapter) : whole;
}

}  // namespace

Json differences(const JobFolder& folder) {
  const auto mesh = metrics_of(folder.output(kMesh)), alone = metrics_of(folder.output(kAlone));
  if (mesh.size() != alone.size() || alone.empty())
    throw std::runtime_error(
        fmt::format("{} iterations on the mesh, {} on one rank", mesh.size(), alone.size()));
  Json found;
  for (const Measure& measure : kMeasures) {
    if (alone.front().contains(measure.name)) found[measure.name] = worst_relative(mesh, alone, measure.name);
  }
  const auto last =
      std::filesystem::path("checkpoints") / checkpoint::file_name_of(std::int64_t(alone.size()));
  const checkpoint::Reader of_mesh(folder.output(kMesh) / last), of_alone(folder.output(kAlone) / last);
  const auto config = models::read_config(test::slurp(folder / "config.json"), "config.json");
  const models::ParameterTable table = learning_table(folder, config);
  for (const std::string group : {"parameters", "optimizer/exp_avg", "optimizer/exp_avg_sq"}) {
    const Worst worst =
        worst_tensor(table, read_tensors(of_mesh, group, table), read_tensors(of_alone, group, table));
    const std::string name = group.substr(group.find('/') + 1);
    found[name] = worst.off;
    found[name + "_of"] = worst.parameter;
  }
  return found;
}

double difference(const Json& differences, const std::string& name) {
  if (!differences.contains(name)) return 0;
  const Json& value = differences.at(name);  // null: not a number
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity();
}

std::string beyond_limits(const Json& differences) {
  std::string text;
  for (const auto& [name, limit] : kMeasures) {
    const double off = difference(differences, name);
    if (off > limit) text += fmt::format("{}{} {:.1e} ({:.0e})", text.empty() ? "" : ", ", name, off, limit);
  }
  return text;
}

}  // namespace moebius::fuzz

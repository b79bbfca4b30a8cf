#include "cluster/mesh.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/math.h"
#include "base/text.h"

namespace moebius::cluster {
namespace {

/// Every group, unions included, is an arithmetic progression of ranks; all groups of an axis are alike, but
/// for those of the stages between the ends.
struct Progression {
  std::int64_t stride, degree;
};

std::string divisors_text(std::int64_t number, std::int64_t times) {
  std::vector<std::string> values;
  for (std::int64_t candidate = 1; candidate <= number; ++candidate)
    if (number % (candidate * times) == 0) values.push_back(std::to_string(candidate));
  return values.empty() ? "none" : join(values);
}

/// One factor of the product that must divide the world.
struct Factor {
  const char* name;
  std::int64_t degree;
};

void expect_divides(std::int64_t world, std::initializer_list<Factor> factors) {
  std::int64_t product = 1;
  std::vector<std::string> named;
  for (const auto& [name, degree] : factors) {
    product *= degree;
    named.push_back(fmt::format("{} {}", name, degree));
  }
  if (world % product == 0) return;
  // The cure: for each degree above 1, what it may be while the others stay.
  std::vector<std::string> cures;
  for (const auto& [name, degree] : factors)
    if (degree > 1 && world % (product / degree) == 0)
      cures.push_back(fmt::format("{}: {}", name, divisors_text(world, product / degree)));
  throw ClusterError(
      fmt::format("{} = {} does not divide the {} {} of this run; {}start a multiple of {} ranks",
                  join(named, " x "), product, world, world == 1 ? "rank" : "ranks",
                  cures.empty() ? "" : fmt::format("use {}, or ", join(cures, "; or ")), product));
}

}  // namespace

std::string name_of(Axis axis) {
  switch (axis) {
    case Axis::tensor: return "tensor";
    case Axis::context: return "context";
    case Axis::data: return "data";
    case Axis::pipeline: return "pipeline";
    case Axis::expert_tensor: return "expert_tensor";
    case Axis::expert: return "expert";
    case Axis::expert_data: return "expert_data";
    case Axis::tensor_context: return "tensor_context";
    case Axis::data_context: return "data_context";
    case Axis::ends: return "ends";
    case Axis::world: return "world";
  }
  return "unknown axis";
}

Mesh::Mesh(std::int64_t world_size, std::int64_t rank, const Degrees& degrees)
    : size_(world_size), rank_(rank), degrees_(degrees) {
  const auto& [tensor, context, pipeline, expert, expert_tensor] = degrees;
  for (const auto& [name, degree] :
       {Factor{"tensor", tensor}, Factor{"context", context}, Factor{"pipeline", pipeline},
        Factor{"expert", expert}, Factor{"expert_tensor", expert_tensor}}) {
    if (degree < 1) throw ClusterError(fmt::format("{} = {}: a degree is at least 1", name, degree));
  }
  expect_divides(size_, {{"tensor", tensor}, {"context", context}, {"pipeline", pipeline}});
  expect_divides(size_, {{"expert", expert}, {"expert_tensor", expert_tensor}, {"pipeline", pipeline}});

  const std::int64_t stage = size_ / pipeline;  // ranks of one pipeline stage
  const bool is_end = rank_ < stage || rank_ >= size_ - stage;
  const Progression ends = pipeline > 1 && is_end ? Progression{size_ - stage, 2} : Progression{1, 1};
  const std::array<Progression, kAxisCount> progressions{{
      {1, tensor},
      {tensor, context},
      {tensor * context, stage / (tensor * context)},
      {stage, pipeline},
      {1, expert_tensor},
      {expert_tensor, expert},
      {expert_tensor * expert, stage / (expert_tensor * expert)},
      {1, tensor * context},
      {tensor, stage / tensor},
      ends,
      {1, size_},
  }};
  for (std::size_t axis = 0; axis < progressions.size(); ++axis) {
    const auto [stride, degree] = progressions[axis];
    const std::int64_t index = rank_ / stride % degree;
    for (std::int64_t i = 0; i < degree; ++i) groups_[axis].push_back(rank_ + (i - index) * stride);
    indices_[axis] = index;
  }
}

bool Mesh::share_groups(Axis a, Axis b) const {
  const bool alike_here = group(a) == group(b);
  // A stage between the ends sees a group of its own that the ends do not have.
  const bool some_are_between = degrees_.pipeline > 2;
  return alike_here && (!some_are_between || (a == Axis::ends) == (b == Axis::ends));
}

std::string Mesh::text() const {
  const auto product_text = [this](std::initializer_list<Axis> axes) {
    std::vector<std::string> factors;
    for (const Axis axis : axes)
      if (degree(axis) > 1) factors.push_back(fmt::format("{} {}", name_of(axis), degree(axis)));
    return join(factors, " x ");
  };
  const std::string attention = product_text({Axis::tensor, Axis::context, Axis::data, Axis::pipeline});
  const std::string experts = product_text({Axis::expert_tensor, Axis::expert, Axis::expert_data});
  const bool folded = degree(Axis::expert) > 1 || degree(Axis::expert_tensor) > 1;
  return folded ? attention + ", " + experts : attention;
}

}  // namespace moebius::cluster

#include "tensor/dtype.h"

#include <array>
#include <utility>

namespace moebius {
namespace {

constexpr std::array<std::pair<Dtype, std::string_view>, 6> kNames{{
    {Dtype::float32, "float32"},
    {Dtype::bfloat16, "bfloat16"},
    {Dtype::float16, "float16"},
    {Dtype::float64, "float64"},
    {Dtype::int32, "int32"},
    {Dtype::int64, "int64"},
}};

}  // namespace

std::string_view name_of(Dtype dtype) {
  for (const auto& [value, name] : kNames) {
    if (value == dtype) return name;
  }
  return "unknown";
}

std::optional<Dtype> dtype_named(std::string_view wanted) {
  for (const auto& [value, name] : kNames) {
    if (name == wanted) return value;
  }
  return std::nullopt;
}

}  // namespace moebius

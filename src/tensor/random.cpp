#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace moebius {

std::uint64_t Random::below(std::uint64_t bound, std::uint64_t index) const {
  __extension__ using Wide = unsigned __int128;
  const auto drawn = words(index);
  return std::uint64_t((Wide{word64(drawn[0], drawn[1])} * bound) >> 64);
}

double Random::normal(std::uint64_t index) const {
  const auto [first, second] = uniforms(index);
  const double radius = std::sqrt(-2 * std::log(1 - first));
  return radius * std::cos(2 * std::numbers::pi * second);
}

std::uint32_t tensor_id(std::string_view name) {
  std::uint32_t hash = 2166136261u;
  for (const char letter : name) hash = (hash ^ std::uint8_t(letter)) * 16777619u;
  return hash;
}

}  // namespace moebius

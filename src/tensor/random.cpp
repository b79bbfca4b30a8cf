#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace moebius {
namespace {

std::array<std::uint32_t, 4> block(const Random& random, std::uint64_t index) {
  return philox(
      {std::uint32_t(index), std::uint32_t(index >> 32), random.tensor, std::uint32_t(random.stream)},
      {std::uint32_t(random.seed), std::uint32_t(random.seed >> 32)});
}

std::uint64_t word64(const std::array<std::uint32_t, 4>& words, std::size_t pair) {
  return (std::uint64_t{words[2 * pair + 1]} << 32) | words[2 * pair];
}

double unit(std::uint64_t word) {
  return double(word >> 11) * 0x1p-53;
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {std::uint32_t(product1 >> 32) ^ counter[1] ^ key[0], std::uint32_t(product1),
               std::uint32_t(product0 >> 32) ^ counter[3] ^ key[1], std::uint32_t(product0)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

std::uint32_t Random::bits(std::uint64_t index) const {
  return block(*this, index)[0];
}

double Random::uniform(std::uint64_t index) const {
  return unit(word64(block(*this, index), 0));
}

std::uint64_t Random::below(std::uint64_t bound, std::uint64_t index) const {
  __extension__ using Wide = unsigned __int128;
  return std::uint64_t((Wide{word64(block(*this, index), 0)} * bound) >> 64);
}

double Random::normal(std::uint64_t index) const {
  const auto words = block(*this, index);
  const double radius = std::sqrt(-2 * std::log(1 - unit(word64(words, 0))));
  return radius * std::cos(2 * std::numbers::pi * unit(word64(words, 1)));
}

std::uint32_t tensor_id(std::string_view name) {
  std::uint32_t hash = 2166136261u;
  for (const char letter : name) hash = (hash ^ std::uint8_t(letter)) * 16777619u;
  return hash;
}

}  // namespace moebius

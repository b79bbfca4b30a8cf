#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace moebius {

/// Which use of random numbers a draw belongs to; part of the counter, so that uses never share numbers.
enum class RandomStream : std::uint32_t {
  initialisation = 1,
  shuffle = 2,
  sampling = 3,
  dropout = 4,
  synthetic = 5,
  generation = 6
};

/// One Philox-4x32-10 block.
[[nodiscard]] constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                            std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {std::uint32_t(product1 >> 32) ^ counter[1] ^ key[0], std::uint32_t(product1),
               std::uint32_t(product0 >> 32) ^ counter[3] ^ key[1], std::uint32_t(product0)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

/// Counter-based random numbers: every draw is a pure function f(seed, stream, tensor, index)
/// (Philox-4x32-10, Salmon et al. 2011), so the numbers do not depend on the number of ranks, on the order of
/// the draws or on how a tensor is split. No state; what is constexpr is usable in kernels.
struct Random {
  std::uint64_t seed = 0;
  RandomStream stream = RandomStream::initialisation;
  std::uint32_t tensor = 0;  // id of the tensor or of the epoch, file, ...; see tensor_id

  /// 32 uniform bits of draw `index`.
  [[nodiscard]] constexpr std::uint32_t bits(std::uint64_t index) const { return words(index)[0]; }
  /// All four words of draw `index`, for uses that want no others of it.
  [[nodiscard]] constexpr std::array<std::uint32_t, 4> words(std::uint64_t index) const {
    return philox({std::uint32_t(index), std::uint32_t(index >> 32), tensor, std::uint32_t(stream)},
                  {std::uint32_t(seed), std::uint32_t(seed >> 32)});
  }
  /// Uniform in [0, 1), 53 bits.
  [[nodiscard]] constexpr double uniform(std::uint64_t index) const { return uniforms(index)[0]; }
  /// `uniform` and another one of the same draw: what `normal` is made of.
  [[nodiscard]] constexpr std::array<double, 2> uniforms(std::uint64_t index) const {
    const auto drawn = words(index);
    return {unit(word64(drawn[0], drawn[1])), unit(word64(drawn[2], drawn[3]))};
  }
  /// Uniform in [0, bound), without modulo bias worth the name (64-bit multiply-high). bound >= 1.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound, std::uint64_t index) const;
  /// Standard normal (Box-Muller on the draw's own 4 words).
  [[nodiscard]] double normal(std::uint64_t index) const;

 private:
  [[nodiscard]] static constexpr std::uint64_t word64(std::uint32_t low, std::uint32_t high) {
    return (std::uint64_t{high} << 32) | low;
  }
  [[nodiscard]] static constexpr double unit(std::uint64_t word) { return double(word >> 11) * 0x1p-53; }
};

/// A stable 32-bit id for a tensor's name (FNV-1a).
[[nodiscard]] std::uint32_t tensor_id(std::string_view name);

}  // namespace moebius

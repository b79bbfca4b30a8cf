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

/// Counter-based random numbers: every draw is a pure function f(seed, stream, tensor, index)
/// (Philox-4x32-10, Salmon et al. 2011), so the numbers do not depend on the number of ranks, on the order of
/// the draws or on how a tensor is split. No state; usable in kernels.
struct Random {
  std::uint64_t seed = 0;
  RandomStream stream = RandomStream::initialisation;
  std::uint32_t tensor = 0;  // id of the tensor or of the epoch, file, ...; see tensor_id

  /// 32 uniform bits of draw `index`.
  [[nodiscard]] std::uint32_t bits(std::uint64_t index) const;
  /// Uniform in [0, 1), 53 bits.
  [[nodiscard]] double uniform(std::uint64_t index) const;
  /// Uniform in [0, bound), without modulo bias worth the name (64-bit multiply-high). bound >= 1.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound, std::uint64_t index) const;
  /// Standard normal (Box-Muller on the draw's own 4 words).
  [[nodiscard]] double normal(std::uint64_t index) const;
};

/// A stable 32-bit id for a tensor's name (FNV-1a).
[[nodiscard]] std::uint32_t tensor_id(std::string_view name);

/// One Philox-4x32-10 block.
[[nodiscard]] std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key);

}  // namespace moebius

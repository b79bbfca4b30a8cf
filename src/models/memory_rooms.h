#pragma once
#include <algorithm>
#include <cstdint>

#include "base/math.h"
#include "tensor/arena.h"

namespace moebius::models {

/// What arenas take for so many numbers: multiples of their alignment, at least one.
struct Rooms {
  Space space = Space::host;
  std::int64_t storage = 4;  // bytes of an activation

  [[nodiscard]] std::int64_t room(std::int64_t count, std::int64_t element) const {
    const std::int64_t unit =
        space == Space::host ? Memory<Space::host>::kAlignment : Memory<Space::device>::kAlignment;
    return round_up(std::max<std::int64_t>(count * element, 1), unit);
  }
  [[nodiscard]] std::int64_t stored(std::int64_t count) const { return room(count, storage); }
  [[nodiscard]] std::int64_t floats(std::int64_t count) const { return room(count, 4); }
  [[nodiscard]] std::int64_t ints(std::int64_t count) const { return room(count, 4); }
};

}  // namespace moebius::models

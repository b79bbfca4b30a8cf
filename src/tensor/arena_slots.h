#pragma once
#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensor/arena.h"

namespace moebius {

/// Several arenas for one purpose: things that end in another order than they begin have one each.
template <Space S>
class ArenaSlots {
 public:
  ArenaSlots(std::string purpose, std::int64_t count) : purpose_(std::move(purpose)) {
    for (std::int64_t i = 0; i < count; ++i) free_.push_back(&arenas_.emplace_back(purpose_));
  }
  ArenaSlots(const ArenaSlots&) = delete;
  ArenaSlots& operator=(const ArenaSlots&) = delete;

  [[nodiscard]] std::int64_t count() const { return std::int64_t(arenas_.size()); }
  /// One that nobody has; the one that was given back last. Throws std::logic_error where all are in use.
  [[nodiscard]] Arena<S>& take() {
    if (free_.empty()) throw std::logic_error("all slots of " + purpose_ + " are in use");
    Arena<S>& taken = *free_.back();
    free_.pop_back();
    return taken;
  }
  /// When everything in it was released.
  void give_back(Arena<S>& arena) { free_.push_back(&arena); }
  /// For what only lasts while no slot is taken.
  [[nodiscard]] Arena<S>& first() { return arenas_.front(); }

  /// See Arena; `bytes` each.
  void reserve(std::int64_t bytes) {
    for (Arena<S>& arena : arenas_) arena.reserve(bytes);
  }
  [[nodiscard]] const std::string& purpose() const { return purpose_; }
  /// The sum of all peaks.
  [[nodiscard]] std::int64_t peak_bytes() const {
    std::int64_t sum = 0;
    for (const Arena<S>& arena : arenas_) sum += arena.peak_bytes();
    return sum;
  }

 private:
  std::string purpose_;
  std::deque<Arena<S>> arenas_;  // stay where they are
  std::vector<Arena<S>*> free_;
};

}  // namespace moebius

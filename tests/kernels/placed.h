#pragma once
#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

namespace moebius::test {

/// A device tensor that begins `offset` numbers after an aligned address. It and what lies around it start as
/// 0xFF bytes; what lies around it must stay so.
template <class T, int Rank>
class Placed {
 public:
  explicit Placed(std::array<std::int64_t, Rank> extents, std::int64_t offset = 0)
      : view_(nullptr, extents), memory_({offset + view_.size() + kGuard}), offset_(offset) {
    view_.data = memory_.data() + offset;
    poison();
  }
  /// With the values of a host tensor, rounded to T.
  template <class From>
  explicit Placed(const Tensor<From, Rank>& from, std::int64_t offset = 0) : Placed(from.shape(), offset) {
    put(from.values());
  }

  [[nodiscard]] View<T, Rank, Space::device> view() const { return view_; }
  [[nodiscard]] Matrix<T, Space::device> matrix() const requires(Rank == 2) { return view_; }
  void poison() const { test::poison(memory_); }
  template <class From>
  void put(const std::vector<From>& from) const {
    REQUIRE(std::int64_t(from.size()) == view_.size());
    std::vector<T> values;
    for (const From& value : from) values.push_back(T(value));
    check(cudaMemcpy(view_.data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  /// Waits for the device.
  template <class To = T>
  [[nodiscard]] std::vector<To> values() const {
    const std::vector<T> all = values_of<T>(memory_);
    const auto* const bytes = reinterpret_cast<const unsigned char*>(all.data());
    const auto begin = std::size_t(offset_) * sizeof(T), end = begin + std::size_t(view_.size()) * sizeof(T);
    bool is_whole = true;
    for (std::size_t i = 0; i < all.size() * sizeof(T); ++i) {
      if (i < begin || i >= end) is_whole = is_whole && bytes[i] == 0xff;
    }
    CHECK(is_whole);  // nothing was written beside the tensor
    return {all.begin() + offset_, all.begin() + offset_ + view_.size()};
  }
  [[nodiscard]] std::vector<std::uint32_t> bits() const {
    std::vector<std::uint32_t> result;
    for (const T& value : values()) {
      std::uint32_t word = 0;
      std::memcpy(&word, &value, sizeof(T));
      result.push_back(word);
    }
    return result;
  }

 private:
  static constexpr std::int64_t kGuard = 40;
  View<T, Rank, Space::device> view_;
  DeviceTensor<T, 1> memory_;
  std::int64_t offset_;
};

/// Poisons the scratch memory and waits for what was put or poisoned: the queue's stream does not wait for
/// it.
inline void make_ready(kernels::Device& gpu) {
  void* const scratch = gpu.scratch(1 << 20);
  check(cudaMemset(scratch, 0xff, std::size_t(gpu.scratch_bytes())));
  check(cudaDeviceSynchronize());
}

/// A host tensor of normally distributed numbers that T holds.
template <class T, int Rank>
struct Normal : Tensor<float, Rank> {
  Normal(std::array<std::int64_t, Rank> extents, unsigned seed) : Tensor<float, Rank>(extents) {
    fill_normal(*this, seed);
    round_to<T>(*this);
  }
};

}  // namespace moebius::test

#pragma once
#include <algorithm>
#include <initializer_list>
#include <random>
#include <type_traits>
#include <vector>

#include "tensor/arena.h"
#include "tensor/view.h"

namespace moebius::test {

/// Owning tensor for tests, in either space. Host tensors start as zeros, or hold the given values.
template <class T, int Rank, Space S = Space::host>
class Tensor {
 public:
  explicit Tensor(std::array<std::int64_t, Rank> extents) : view_(nullptr, extents) {
    view_.data =
        static_cast<T*>(Memory<S>::allocate(std::size_t(std::max<std::int64_t>(count(), 1)) * sizeof(T)));
    if constexpr (S == Space::host) std::fill_n(view_.data, count(), T{});
  }
  Tensor(std::array<std::int64_t, Rank> extents,
         std::initializer_list<std::type_identity_t<T>> values) requires(S == Space::host)
      : Tensor(extents) {
    std::copy(values.begin(), values.end(), view_.data);
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor() { Memory<S>::release(view_.data); }

  [[nodiscard]] std::int64_t count() const { return view_.size(); }
  [[nodiscard]] const std::array<std::int64_t, Rank>& shape() const { return view_.shape; }
  [[nodiscard]] View<T, Rank, S> view() const { return view_; }
  [[nodiscard]] T* data() const { return view_.data; }
  T& operator[](std::int64_t i) const requires(S == Space::host) { return view_.data[i]; }
  [[nodiscard]] std::vector<T> values() const requires(S == Space::host) {
    return {view_.data, view_.data + count()};
  }

 private:
  View<T, Rank, S> view_;
};

template <int Rank>
void fill_normal(const Tensor<float, Rank>& tensor, unsigned seed, float deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, deviation);
  for (std::int64_t i = 0; i < tensor.count(); ++i) tensor[i] = normal(engine);
}

template <class T, int Rank>
void fill(const Tensor<T, Rank>& tensor, T value) {
  std::fill_n(tensor.data(), tensor.count(), value);
}

/// <a, b> in double.
template <int Rank>
double dot(const Tensor<float, Rank>& a, const Tensor<float, Rank>& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.count(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

}  // namespace moebius::test

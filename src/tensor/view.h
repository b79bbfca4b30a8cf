#pragma once
#include <array>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace moebius {

/// Where memory lives. Part of every view's type, so that a device tensor cannot reach a host function.
enum class Space : std::uint8_t { host, device };

/// A contiguous row-major tensor that somebody else owns. Cheap to copy; usable in kernels
/// (nvcc --expt-relaxed-constexpr).
template <class T, int Rank, Space S>
struct View {
  T* data = nullptr;
  std::array<std::int64_t, Rank> shape{};

  constexpr View() = default;
  constexpr View(T* first, std::array<std::int64_t, Rank> extents) : data(first), shape(extents) {}
  /// View<T> converts to View<const T>. A template, because nvcc takes a plain constructor of this form for
  /// a copy constructor and then refuses the struct as a kernel argument.
  template <class U>
  requires std::same_as<const U, T>
  constexpr View(const View<U, Rank, S>& other) : data(other.data), shape(other.shape) {}

  [[nodiscard]] constexpr std::int64_t size() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    return count;
  }
  [[nodiscard]] constexpr bool empty() const { return data == nullptr || size() == 0; }

  constexpr T& operator()(std::int64_t i) const requires(Rank == 1) { return data[i]; }
  constexpr T& operator()(std::int64_t i, std::int64_t j) const requires(Rank == 2) {
    return data[i * shape[1] + j];
  }
  constexpr T& operator()(std::int64_t i, std::int64_t j, std::int64_t k) const requires(Rank == 3) {
    return data[(i * shape[1] + j) * shape[2] + k];
  }

  /// Entries begin .. begin+count-1 of the first dim.
  [[nodiscard]] constexpr View slice(std::int64_t begin, std::int64_t count) const {
    View part = *this;
    part.shape[0] = count;
    part.data += begin * (shape[0] == 0 ? 0 : size() / shape[0]);
    return part;
  }
  [[nodiscard]] constexpr View<T, 1, S> flat() const { return {data, {size()}}; }
};

/// A matrix whose rows lie `stride` elements apart: a block of columns of a wider one, such as the queries
/// inside a packed query-key-value buffer.
template <class T, Space S>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0, columns = 0, stride = 0;

  constexpr Matrix() = default;
  constexpr Matrix(T* first, std::int64_t row_count, std::int64_t column_count, std::int64_t row_stride)
      : data(first), rows(row_count), columns(column_count), stride(row_stride) {}
  constexpr Matrix(const View<T, 2, S>& view)
      : data(view.data), rows(view.shape[0]), columns(view.shape[1]), stride(view.shape[1]) {}
  template <class U>
  requires std::same_as<const U, T>
  constexpr Matrix(const View<U, 2, S>& view)
      : data(view.data), rows(view.shape[0]), columns(view.shape[1]), stride(view.shape[1]) {}
  template <class U>
  requires std::same_as<const U, T>
  constexpr Matrix(const Matrix<U, S>& other)
      : data(other.data), rows(other.rows), columns(other.columns), stride(other.stride) {}

  constexpr T& operator()(std::int64_t row, std::int64_t column) const { return data[row * stride + column]; }
  [[nodiscard]] constexpr T* row(std::int64_t index) const { return data + index * stride; }
  [[nodiscard]] constexpr Matrix column_block(std::int64_t begin, std::int64_t count) const {
    return {data + begin, rows, count, stride};
  }
};

/// A tensor does not have the shape that an operation needs: a mistake of ours, never of the user.
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

[[nodiscard]] std::string shape_text(const std::int64_t* extents, std::size_t rank);

/// Throws ShapeError "<name>: expected [4096], got [2048]" unless `view` has shape `expected`.
template <class T, int Rank, Space S>
void expect_shape(std::string_view name, const View<T, Rank, S>& view,
                  const std::type_identity_t<std::array<std::int64_t, Rank>>& expected) {
  if (view.shape == expected) return;
  throw ShapeError(std::string(name) + ": expected " + shape_text(expected.data(), expected.size()) +
                   ", got " + shape_text(view.shape.data(), view.shape.size()));
}

/// The same for a Matrix; its stride is free.
template <class T, Space S>
void expect_shape(std::string_view name, const Matrix<T, S>& matrix, std::array<std::int64_t, 2> expected) {
  const std::array<std::int64_t, 2> got{matrix.rows, matrix.columns};
  if (got == expected) return;
  throw ShapeError(std::string(name) + ": expected " + shape_text(expected.data(), 2) + ", got " +
                   shape_text(got.data(), 2));
}

}  // namespace moebius

#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/random.h"
#include "tensor/view.h"

/// Dropout (Srivastava et al. 2014): y = x / (1 - probability) where a number is kept and 0 where it is
/// dropped, or added to y. Its own adjoint. Which numbers are dropped is a function of the token, the column
/// of the whole tensor and of `tensor` alone, so it is the same in forward and backward, when something is
/// made again, and on every mesh:
///
///   number n = token, or token * experts + expert;  column c of the whole tensor, of C
///   kept: word c % 4 of Random{seed, dropout, tensor}.words(micro batch * 2^40 + n * ceil(C / 4) + c / 4)
///         >= probability * 2^32
namespace moebius::kernels {

template <class T, Space S>
struct Dropout {
  Matrix<const T, S> x;                    // [rows, columns]
  Matrix<T, S> y;                          // [rows, columns]; does not overlap x
  View<const std::int32_t, 2, S> numbers;  // [tokens, 2]; the micro batch of each token, its place in it
  // Of rows that went to experts (kernels/moe/permute.h); empty: row r is token r.
  View<const std::int32_t, 1, S> assignments;  // [rows]; token * top_k + choice, -1: nothing is in the row
  View<const std::int32_t, 2, S> ids;          // [tokens, top_k]
  std::int64_t experts = 1;
  std::int64_t first_column = 0, all_columns = 0;  // of the whole tensor
  float probability = 0;                           // below 1
  std::uint64_t seed = 0;
  std::uint32_t tensor = 0;  // tensor_id of the layer
  Into into = Into::overwrite;

  /// Where the draws of a row begin; nothing is in the row: -1.
  [[nodiscard]] constexpr std::int64_t draws_of(std::int64_t row) const {
    std::int64_t token = row, which = 0, of = 1;
    if (assignments.data != nullptr) {
      const std::int64_t assignment = assignments(row);
      if (assignment < 0) return -1;
      token = assignment / ids.shape[1], which = ids.data[assignment], of = experts;
    }
    const std::int64_t number = numbers(token, 1) * of + which;
    return (std::int64_t{numbers(token, 0)} << 40) + number * ((all_columns + 3) / 4);
  }
  /// Draws of the columns 4 group .. 4 group + 3 of a row.
  [[nodiscard]] constexpr std::array<std::uint32_t, 4> words(std::int64_t draws, std::int64_t group) const {
    return Random{seed, RandomStream::dropout, tensor}.words(std::uint64_t(draws + group));
  }
  [[nodiscard]] constexpr std::uint32_t threshold() const {
    return std::uint32_t(double(probability) * 4294967296.0);
  }
};

template <class T>
void dropout(const Dropout<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void dropout(const Dropout<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const Dropout<T, S>& op) {
  expect_shape("dropout.y", op.y, {op.x.rows, op.x.columns});
  if (op.assignments.data == nullptr) {
    expect_shape("dropout.numbers", op.numbers, {op.x.rows, 2});
  } else {
    expect_shape("dropout.assignments", op.assignments, {op.x.rows});
    expect_shape("dropout.ids", op.ids, {op.numbers.shape[0], op.ids.shape[1]});
  }
  if (op.first_column + op.x.columns > op.all_columns)
    throw ShapeError("dropout: columns " + std::to_string(op.first_column) + " and " +
                     std::to_string(op.x.columns) + " more, of " + std::to_string(op.all_columns));
}

}  // namespace moebius::kernels

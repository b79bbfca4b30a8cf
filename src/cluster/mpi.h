#pragma once
#define OMPI_SKIP_MPICXX 1  // the C++ bindings that MPI gave up in 2012
#include <mpi.h>

#include <cstdint>
#include <utility>

/// MPI's handles as objects, and its status codes as exceptions. Back ends (cluster/, parallel/exchange_*,
/// checkpoint/) include this instead of <mpi.h>; nobody else does.
namespace moebius::cluster {

/// Throws ClusterError with MPI's own text and the caller's place unless `status` is MPI_SUCCESS.
/// (std::source_location would do it in one argument, but clang-tidy 14 cannot read libstdc++ 12's.)
void check(int status, const char* file = __builtin_FILE(), int line = __builtin_LINE());

/// An MPI communicator that belongs to this object. Its errors return (and become exceptions through check).
class Communicator {
 public:
  /// Owns `handle` from here on.
  explicit Communicator(MPI_Comm handle);
  Communicator(Communicator&& other) noexcept : handle_(std::exchange(other.handle_, MPI_COMM_NULL)) {}
  Communicator& operator=(Communicator&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Communicator();

  /// All ranks of `parent`, apart from its messages. Collective, as is split.
  [[nodiscard]] static Communicator duplicate(MPI_Comm parent);
  /// The ranks that give the same color, in the order of their keys.
  [[nodiscard]] Communicator split(std::int64_t color, std::int64_t key) const;
  /// The ranks that share memory with this one.
  [[nodiscard]] Communicator split_by_node() const;

  [[nodiscard]] MPI_Comm get() const { return handle_; }
  [[nodiscard]] std::int64_t rank() const;
  [[nodiscard]] std::int64_t size() const;

 private:
  MPI_Comm handle_;
};

template <class T>
[[nodiscard]] MPI_Datatype mpi_type();
template <>
inline MPI_Datatype mpi_type<std::int64_t>() {
  return MPI_INT64_T;
}
template <>
inline MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}

}  // namespace moebius::cluster

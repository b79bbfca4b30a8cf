#include "cluster/mpi.h"

#include <array>
#include <fmt/format.h>
#include <string_view>

#include "base/error.h"
#include "base/math.h"

namespace moebius::cluster {
namespace {

bool mpi_is_over() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  return finalized != 0;
}

}  // namespace

void check(int status, const char* file, int line) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  throw ClusterError(
      fmt::format("MPI failed at {}:{}: {}", file, line, std::string_view(text.data(), std::size_t(length))));
}

Communicator::Communicator(MPI_Comm handle) : handle_(handle) {
  if (handle_ != MPI_COMM_NULL) check(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN));
}

Communicator::~Communicator() {
  if (handle_ != MPI_COMM_NULL && !mpi_is_over()) MPI_Comm_free(&handle_);
}

Communicator Communicator::duplicate(MPI_Comm parent) {
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_dup(parent, &handle));
  return Communicator(handle);
}

Communicator Communicator::split(std::int64_t color, std::int64_t key) const {
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_split(handle_, narrow<int>(color), narrow<int>(key), &handle));
  return Communicator(handle);
}

Communicator Communicator::split_by_node() const {
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, int(rank()), MPI_INFO_NULL, &handle));
  return Communicator(handle);
}

std::int64_t Communicator::rank() const {
  int rank = 0;
  check(MPI_Comm_rank(handle_, &rank));
  return rank;
}

std::int64_t Communicator::size() const {
  int size = 0;
  check(MPI_Comm_size(handle_, &size));
  return size;
}

}  // namespace moebius::cluster

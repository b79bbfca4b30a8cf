// Cluster's collectives: small things, on all ranks, each under the watchdog's eyes.
#include <algorithm>
#include <numeric>

#include "base/math.h"
#include "cluster/cluster.h"
#include "cluster/mpi.h"

namespace moebius::cluster {
namespace {

constexpr std::int64_t kMostBytesPerCall = std::int64_t{1} << 30;  // MPI counts in int

template <class T>
T combined(T a, T b, Reduction reduction) {
  switch (reduction) {
    case Reduction::sum: return a + b;
    case Reduction::max: return std::max(a, b);
    case Reduction::min: return std::min(a, b);
  }
  return a;
}

/// Where the text of each rank begins in all of them laid end to end; as MPI's `int`s.
std::vector<int> offsets_of(const std::vector<int>& lengths) {
  std::vector<int> offsets(lengths.size(), 0);
  std::int64_t offset = 0;
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    offsets[rank] = narrow<int>(offset);
    offset += lengths[rank];
  }
  (void)narrow<int>(offset);
  return offsets;
}

std::vector<std::string> cut(const std::string& all, const std::vector<int>& lengths) {
  std::vector<std::string> texts;
  std::size_t offset = 0;
  for (const int length : lengths) {
    texts.push_back(all.substr(offset, std::size_t(length)));
    offset += std::size_t(length);
  }
  return texts;
}

}  // namespace

void Cluster::barrier(std::string_view name) {
  const Watch watch(*watchdog_, Axis::world, "barrier", name);
  check(MPI_Barrier(world_->get()));
}

std::string Cluster::broadcast(std::string_view name, std::string bytes, std::int64_t root) {
  const Watch watch(*watchdog_, Axis::world, "broadcast", name);
  std::int64_t size = std::int64_t(bytes.size());
  check(MPI_Bcast(&size, 1, MPI_INT64_T, int(root), world_->get()));
  bytes.resize(std::size_t(size));
  for (std::int64_t done = 0; done < size; done += kMostBytesPerCall) {
    const std::int64_t part = std::min(kMostBytesPerCall, size - done);
    check(MPI_Bcast(bytes.data() + done, int(part), MPI_BYTE, int(root), world_->get()));
  }
  return bytes;
}

template <class T>
std::vector<T> Cluster::all_gather(std::string_view name, const T& value) {
  const Watch watch(*watchdog_, Axis::world, "all_gather", name);
  std::vector<T> values(std::size_t(size_), T{});
  check(MPI_Allgather(&value, 1, mpi_type<T>(), values.data(), 1, mpi_type<T>(), world_->get()));
  return values;
}

template <>
std::vector<std::string> Cluster::all_gather(std::string_view name, const std::string& value) {
  const Watch watch(*watchdog_, Axis::world, "all_gather", name);
  const int length = narrow<int>(value.size());
  std::vector<int> lengths(std::size_t(size_), 0);
  check(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, world_->get()));
  const std::vector<int> offsets = offsets_of(lengths);
  std::string all(std::size_t(offsets.back() + lengths.back()), '\0');
  check(MPI_Allgatherv(value.data(), length, MPI_CHAR, all.data(), lengths.data(), offsets.data(), MPI_CHAR,
                       world_->get()));
  return cut(all, lengths);
}

std::vector<std::string> Cluster::gather(std::string_view name, const std::string& text) {
  const Watch watch(*watchdog_, Axis::world, "gather", name);
  const int length = narrow<int>(text.size());
  std::vector<int> lengths(rank_ == 0 ? std::size_t(size_) : 0, 0);
  check(MPI_Gather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, 0, world_->get()));
  const std::vector<int> offsets = offsets_of(lengths);
  std::string all(std::size_t(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})), '\0');
  check(MPI_Gatherv(text.data(), length, MPI_CHAR, all.data(), lengths.data(), offsets.data(), MPI_CHAR, 0,
                    world_->get()));
  return cut(all, lengths);
}

template <class T>
void Cluster::all_reduce(std::string_view name, std::span<T> values, Reduction reduction) {
  const Watch watch(*watchdog_, Axis::world, "all_reduce", name);
  std::vector<T> all(values.size() * std::size_t(size_));
  const int count = narrow<int>(values.size());
  check(MPI_Allgather(values.data(), count, mpi_type<T>(), all.data(), count, mpi_type<T>(), world_->get()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = all[i];
    for (std::size_t at = i + values.size(); at < all.size(); at += values.size())
      values[i] = combined(values[i], all[at], reduction);
  }
}

template std::vector<std::int64_t> Cluster::all_gather(std::string_view, const std::int64_t&);
template std::vector<double> Cluster::all_gather(std::string_view, const double&);
template void Cluster::all_reduce(std::string_view, std::span<std::int64_t>, Reduction);
template void Cluster::all_reduce(std::string_view, std::span<double>, Reduction);

}  // namespace moebius::cluster

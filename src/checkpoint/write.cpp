#include "checkpoint/write.h"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <system_error>

#include "base/file.h"
#include "base/text.h"
#include "checkpoint/checksums.h"
#include "checkpoint/format.h"
#include "checkpoint/hdf5.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/reader.h"
#include "cluster/mpi.h"
#include "tensor/view.h"

namespace moebius::checkpoint {
namespace {

using cluster::Cluster;
using std::filesystem::path;

constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
constexpr std::int64_t kLongestCall = 1024 * kMebibyte;    // bytes a rank and call
constexpr std::int64_t kShortRun = std::int64_t{1} << 16;  // bytes

path folder_of(const path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

/// HDF5's complaints while writing are the file system's fault, not that of a file we were given.
template <class Work>
auto writing(const path& file, Work&& work) {
  try {
    return work();
  } catch (const Hdf5Error& error) {
    throw ClusterError(fmt::format("{}: {} ({} are free there); no checkpoint was written", file.string(),
                                   error.what(), bytes_text(free_bytes(folder_of(file)))));
  }
}

std::string tensor_path(const TensorGroup& group, const models::Parameter& parameter) {
  return group.name + "/" + parameter.name;
}

std::int64_t longest_piece(const WriteRequest& request, Dtype dtype) {
  const std::int64_t bytes = std::min(request.buffer_bytes, kLongestCall);
  return std::max<std::int64_t>(1, bytes / size_of(dtype));
}

/// The file with a dataset for each tensor: space set aside, nothing in it. Rank 0 alone. What the file
/// system refuses it should refuse here, where one rank hears it, and not later in the middle of a
/// collective.
void create_skeleton(const path& file, const WriteRequest& request) {
  std::vector<std::vector<Dtype>> dtypes;
  for (const TensorGroup& group : request.groups) dtypes.push_back(group.dtypes);
  const std::int64_t bytes = file_bytes(request.contents, request.table, dtypes);
  File(file, File::Mode::create).resize(bytes);  // limits on the size of a file
  writing(file, [&] { change_file(file, Change::create, [](hid_t) {}); });
  reserve_space(file, bytes);
  writing(file, [&] {
    change_file(file, Change::add, [&](hid_t handle) {
      for (const TensorGroup& group : request.groups) {
        for (std::size_t i = 0; i < request.table.size(); ++i)
          create_dataset(handle, tensor_path(group, request.table[i]), type_of(group.dtypes[i]),
                         request.table[i].shape);
      }
    });
  });
}

/// How all ranks write one tensor.
struct TensorPlan {
  std::int64_t calls = 0;      // of the rank with the most pieces: all make as many
  std::int64_t scattered = 0;  // 1: on some rank, pieces consist of many short runs
};

/// The collective part: every rank writes its slabs, tensor after tensor. A rank that fails goes on making
/// the calls, with nothing to write, until all know, so nobody waits for it. How MPI fails inside of a
/// gathered write is its own affair: the calls are watched.
class SlabWriter {
 public:
  SlabWriter(const path& file, const WriteRequest& request, Cluster& cluster)
      : file_(file), request_(request), cluster_(cluster) {}

  /// What this rank wrote. Throws AgreedError where a rank failed.
  std::vector<SlabRecord> run() {
    plan();
    {
      const cluster::Watch watch(cluster_.watchdog(), models::Axis::world, "open", "checkpoint");
      attempt([&] { handle_ = open_together(file_, cluster_.world().get()); });
    }
    for (tensor_ = 0; tensor_ < plans_.size() && !any_rank_failed(); ++tensor_) write_tensor();
    close();
    cluster_.together("write the checkpoint", [&] {
      if (failure_) std::rethrow_exception(failure_);
    });
    return std::move(records_);
  }

 private:
  [[nodiscard]] const TensorGroup& group() const { return request_.groups[tensor_ / request_.table.size()]; }
  [[nodiscard]] std::size_t parameter() const { return tensor_ % request_.table.size(); }
  [[nodiscard]] Dtype dtype() const { return group().dtypes[parameter()]; }
  [[nodiscard]] std::int64_t bytes_of(const Slab& piece) const { return piece.size() * size_of(dtype()); }
  [[nodiscard]] std::vector<Slab> pieces() const {
    std::vector<Slab> all;
    for (const Slab& slab : group().slabs[parameter()]) {
      for (Slab& piece : pieces_of(slab, longest_piece(request_, dtype()))) all.push_back(std::move(piece));
    }
    return all;
  }

  /// Agrees on the plans of all tensors at once, and makes the buffer for this rank's largest piece.
  void plan() {
    plans_.resize(request_.groups.size() * request_.table.size());
    std::int64_t buffer_bytes = 0;
    for (tensor_ = 0; tensor_ < plans_.size(); ++tensor_) {
      const std::vector<Slab> mine = pieces();
      plans_[tensor_].calls = std::int64_t(mine.size());
      for (const Slab& piece : mine) {
        buffer_bytes = std::max(buffer_bytes, bytes_of(piece));
        if (is_scattered(piece)) plans_[tensor_].scattered = 1;
      }
    }
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(std::size_t(buffer_bytes));
    static_assert(sizeof(TensorPlan) == 2 * sizeof(std::int64_t));
    cluster_.all_reduce("checkpoint plan", std::span<std::int64_t>(&plans_.front().calls, 2 * plans_.size()),
                        cluster::Reduction::max);
  }

  [[nodiscard]] bool is_scattered(const Slab& piece) const {
    const auto runs = std::int64_t(models::runs_of(request_.table[parameter()], piece).size());
    return runs > 1 && bytes_of(piece) / runs < kShortRun;
  }

  void write_tensor() {
    const std::string name = tensor_path(group(), request_.table[parameter()]);
    Dataset dataset;
    attempt([&] { dataset = open_dataset(handle_.get(), name); });
    if (any_rank_failed()) return;
    const TensorPlan& plan = plans_[tensor_];
    const Handle transfer =
        collective_transfer(plan.scattered != 0 ? Collective::gathered : Collective::each_its_own);
    const std::vector<Slab> mine = pieces();
    for (std::int64_t call = 0; call < plan.calls; ++call) {
      const Slab* piece = call < std::int64_t(mine.size()) ? &mine[std::size_t(call)] : nullptr;
      if (piece != nullptr && !failure_) attempt([&] { fill(*piece); });
      if (failure_) piece = nullptr;
      const cluster::Watch watch(cluster_.watchdog(), models::Axis::world, "write", name);
      attempt([&] { write_slab(dataset, piece, buffer_.get(), transfer.get()); });
    }
  }

  void close() {
    const bool failed = any_rank_failed();
    if (failed) {
      // HDF5 writes a little when it closes; where it cannot, it leaves the other ranks waiting.
      if (cluster_.rank() == 0) give_space_back(file_);
      cluster_.barrier("give space back");
    }
    const cluster::Watch watch(cluster_.watchdog(), models::Axis::world, "close", "checkpoint");
    attempt([&] {
      if (!failed) checked(H5Fflush(handle_.get(), H5F_SCOPE_GLOBAL), "cannot be flushed");
      handle_.close("cannot be closed");
    });
  }

  void fill(const Slab& piece) {
    const std::span<std::byte> elements(buffer_.get(), std::size_t(bytes_of(piece)));
    group().source(parameter(), piece, elements);
    records_.push_back(
        {std::int64_t(tensor_), piece, checksum_of(elements.data(), std::int64_t(elements.size()))});
  }

  /// Keeps the first failure for the end.
  template <class Work>
  void attempt(Work&& work) {
    try {
      writing(file_, work);
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }

  bool any_rank_failed() {
    return cluster_.all_reduce("checkpoint status", std::int64_t(failure_ != nullptr),
                               cluster::Reduction::max) > 0;
  }

  const path& file_;
  const WriteRequest& request_;
  Cluster& cluster_;
  Handle handle_;
  std::unique_ptr<std::byte[]> buffer_;
  std::vector<TensorPlan> plans_;  // of each tensor, the groups one after the other
  std::size_t tensor_ = 0;
  std::vector<SlabRecord> records_;
  std::exception_ptr failure_;
};

bool comes_before(const SlabRecord& a, const SlabRecord& b) {
  if (a.tensor != b.tensor) return a.tensor < b.tensor;
  return std::ranges::lexicographical_compare(a.slab.ranges, b.slab.ranges, {}, &Range::begin, &Range::begin);
}

/// The slabs of all ranks as one table; throws std::logic_error where they leave a gap or overlap.
ChecksumTable table_of(const WriteRequest& request, const std::vector<std::string>& parts) {
  ChecksumTable table;
  std::vector<std::int64_t> missing;  // elements of each tensor
  for (const TensorGroup& group : request.groups) {
    for (const models::Parameter& parameter : request.table) {
      table.tensors.push_back(tensor_path(group, parameter));
      missing.push_back(parameter.size());
    }
  }
  for (const std::string& part : parts) {
    for (SlabRecord& record : from_bytes(part)) {
      missing[std::size_t(record.tensor)] -= record.slab.size();
      table.slabs.push_back(std::move(record));
    }
  }
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (missing[i] != 0)
      throw std::logic_error(
          fmt::format("{}: {} elements are written by no rank or by two", table.tensors[i], missing[i]));
  }
  std::ranges::sort(table.slabs, comes_before);
  return table;
}

/// Everything that is not a tensor, the checksums last.
void add_contents(hid_t handle, const Contents& contents, ChecksumTable table) {
  const auto add = [&](const std::string& name, std::string_view bytes, BytesKind kind) {
    SlabRecord record = write_bytes(handle, name, bytes, kind);
    record.tensor = std::int64_t(table.tensors.size());
    table.tensors.push_back(name);
    if (!bytes.empty()) table.slabs.push_back(std::move(record));
  };
  write_attribute(handle, kFormat, kFormatName);
  write_attribute(handle, kFormatVersion, kThisVersion);
  write_attribute(handle, kIteration, contents.iteration);
  write_attribute(handle, kSamples, contents.samples);
  write_attribute(handle, kSeed, contents.seed);
  write_attribute(handle, kSequence, contents.sequence);
  if (!contents.started_on.empty()) write_attribute(handle, kStartedOn, contents.started_on);
  if (!contents.job.empty()) add(kJob, contents.job, BytesKind::text);
  for (const auto& [name, bytes] : contents.model_files) add(kModelFolder + name, bytes, BytesKind::raw);
  store(handle, table);
}

/// Rank 0 alone.
void finish(const path& file, const WriteRequest& request, const ChecksumTable& table) {
  writing(file, [&] {
    change_file(file, Change::add, [&](hid_t handle) { add_contents(handle, request.contents, table); });
  });
  File(file, File::Mode::write_existing).sync();
}

/// Reads the file back, each rank its share of all slabs whoever wrote them.
void verify(const path& file, const Cluster& cluster) {
  const std::string cure =
      "what was written does not come back: the file system or MPI-IO lost it (with Open MPI, try "
      "OMPI_MCA_fcoll=^vulcan); no checkpoint was written";
  std::string found;
  try {
    const std::vector<std::string> damage = Reader(file).damage(cluster.size(), cluster.rank());
    if (!damage.empty()) found = damage.front();
  } catch (const DamagedError& error) {
    found = error.what();
  }
  if (!found.empty()) throw ClusterError(found + "; " + cure);
}

void publish(const path& partial, const path& file) {
  std::error_code error;
  std::filesystem::rename(partial, file, error);
  if (error)
    throw ClusterError(
        fmt::format("{}: cannot be renamed to {}: {}", partial.string(), file.string(), error.message()));
  sync_folder(folder_of(file));
}

}  // namespace

std::int64_t file_bytes(const Contents& contents, const models::ParameterTable& table,
                        std::span<const std::vector<Dtype>> groups) {
  std::int64_t bytes = 4 * kMebibyte;  // metadata that does not grow
  for (const std::vector<Dtype>& dtypes : groups) {
    for (std::size_t i = 0; i < table.size(); ++i) {
      const std::int64_t tensor = table[i].size() * size_of(dtypes[i]);
      bytes += tensor + 1024 + (tensor >= 8 * kMebibyte ? kMebibyte : 0);  // header, alignment
    }
  }
  for (const auto& [name, file] : contents.model_files) bytes += std::int64_t(file.size());
  return bytes + std::int64_t(contents.job.size());
}

path partial_of(const path& file) {
  return file.string() + ".partial";
}

void write_checkpoint(const path& file, const WriteRequest& request, Cluster& cluster) {
  const cluster::Phase phase(cluster.watchdog(), "save");
  const path partial = partial_of(file);
  try {
    cluster.on_first_rank("create the checkpoint", [&] { create_skeleton(partial, request); });
    const std::vector<SlabRecord> records = SlabWriter(partial, request, cluster).run();
    const std::vector<std::string> all = cluster.gather("checksums", to_bytes(records));
    cluster.on_first_rank("finish the checkpoint", [&] { finish(partial, request, table_of(request, all)); });
    cluster.together("read the checkpoint back", [&] { verify(partial, cluster); });
    cluster.on_first_rank("publish the checkpoint", [&] { publish(partial, file); });
  } catch (const cluster::AgreedError&) {
    std::error_code ignored;
    if (cluster.rank() == 0) std::filesystem::remove(partial, ignored);
    cluster.barrier("remove the partial checkpoint");  // gone for whoever looks next
    throw;
  }
}

}  // namespace moebius::checkpoint

#pragma once
#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "models/parameter_table.h"
#include "tensor/dtype.h"

/// HDF5's handles as objects, its error stack as an exception, and the few things that this module does with
/// it. Internal: nothing outside of checkpoint/ includes it.
namespace moebius::checkpoint {

/// What HDF5 says went wrong, innermost reason included. Callers add file, tensor and cure.
struct Hdf5Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws Hdf5Error "<what>: <HDF5's innermost message>" where `status` is negative; otherwise returns it.
hid_t checked(hid_t status, const std::string& what);

/// An HDF5 identifier that is closed with the object.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_), std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  [[nodiscard]] hid_t get() const { return id_; }
  /// Closes now, and throws Hdf5Error where that fails: closing a file is what writes its last bytes.
  void close(const std::string& what);

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// Opens for reading, by this process alone, without locks. No plugin is ever loaded.
[[nodiscard]] Handle open_to_read(const std::filesystem::path& path);
enum class Change { create, add };
/// Runs `work` on a file opened for writing by this process alone; the file is flushed and closed when it
/// returns. Throws what `work` throws.
void change_file(const std::filesystem::path& path, Change change, const std::function<void(hid_t)>& work);
/// Opens an existing file for writing by all ranks of `communicator` through MPI-IO. Collective.
[[nodiscard]] Handle open_together(const std::filesystem::path& path, MPI_Comm communicator);

/// The HDF5 type of elements in files and in our buffers: the same, so that nothing is converted.
[[nodiscard]] Handle type_of(Dtype dtype);
/// The reverse; throws Hdf5Error for a type that we do not write.
[[nodiscard]] Dtype dtype_of(hid_t type);

/// A dataset of a plain kind: contiguous, its bytes in this file.
struct Dataset {
  Handle handle, type;
  std::vector<std::int64_t> shape;
  std::int64_t element_bytes = 0;
  [[nodiscard]] std::int64_t bytes() const;
};

/// Makes a dataset with its groups; space in the file is set aside, and nothing is written yet.
Dataset create_dataset(hid_t file, const std::string& path, Handle type, std::vector<std::int64_t> shape);
/// Throws Hdf5Error where there is none of that path, or one of another kind (chunked, filtered, external,
/// behind a soft or external link).
[[nodiscard]] Dataset open_dataset(hid_t file, const std::string& path);

/// `slab` in a dataset; an empty optional stands for no elements. `transfer`: a property list, or
/// H5P_DEFAULT.
void write_slab(const Dataset& dataset, const models::Slab* slab, const void* elements, hid_t transfer);
void read_slab(const Dataset& dataset, const models::Slab& slab, void* elements);

/// How the bytes of a collective call reach the file: each rank writes its own, best for long runs; or some
/// ranks write what they gather from all, best for many short runs that interleave.
enum class Collective : std::uint8_t { each_its_own, gathered };
/// Property list for such transfers.
[[nodiscard]] Handle collective_transfer(Collective how);

void write_attribute(hid_t file, const std::string& name, std::int64_t value);
void write_attribute(hid_t file, const std::string& name, const std::string& text);
[[nodiscard]] bool has_attribute(hid_t file, const std::string& name);
[[nodiscard]] std::int64_t read_integer(hid_t file, const std::string& name);
[[nodiscard]] std::string read_text(hid_t file, const std::string& name);

}  // namespace moebius::checkpoint

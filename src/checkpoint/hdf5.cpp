#include "checkpoint/hdf5.h"

#include <algorithm>
#include <array>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster/mpi.h"

namespace moebius::checkpoint {
namespace {

constexpr hsize_t kMebibyte = hsize_t{1} << 20;
constexpr std::array kAllDtypes{Dtype::float32, Dtype::bfloat16, Dtype::float16,
                                Dtype::float64, Dtype::int32,    Dtype::int64};

/// The first message of the stack, which HDF5 numbers from the innermost call outwards.
herr_t take_innermost(unsigned number, const H5E_error2_t* error, void* text) {
  if (number == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

void prepare_library() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // what it has to say becomes our message
  H5PLset_loading_state(0);                     // a file must not make us load code
}

/// The first format whose metadata has checksums (1.8), so that all tools read it; large tensors begin at
/// multiples of 1 MiB.
Handle file_access() {
  prepare_library();
  Handle access(checked(H5Pcreate(H5P_FILE_ACCESS), "file access"), H5Pclose);
  checked(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), "library version bounds");
  checked(H5Pset_alignment(access.get(), 8 * kMebibyte, kMebibyte), "alignment");
  checked(H5Pset_meta_block_size(access.get(), kMebibyte / 16), "metadata block size");
  checked(H5Pset_sieve_buf_size(access.get(), 4 * kMebibyte), "sieve buffer size");
  checked(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), "close degree");
  // A file is written under a name of its own and never changed afterwards: nothing to lock, and some
  // parallel file systems refuse locks.
  checked(H5Pset_file_locking(access.get(), false, true), "file locking");
  return access;
}

Handle float_type(size_t exponent_bits, size_t mantissa_bits) {  // 16 bits, one of them the sign
  Handle type(checked(H5Tcopy(H5T_IEEE_F32LE), "float type"), H5Tclose);
  checked(H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits), "float fields");
  checked(H5Tset_precision(type.get(), 16), "float precision");
  checked(H5Tset_size(type.get(), 2), "float size");
  checked(H5Tset_ebias(type.get(), (size_t{1} << (exponent_bits - 1)) - 1), "float bias");
  return type;
}

std::vector<hsize_t> extents_of(const std::vector<std::int64_t>& shape) {
  return {shape.begin(), shape.end()};
}

Handle space_of(const std::vector<std::int64_t>& shape) {
  const std::vector<hsize_t> extents = extents_of(shape);
  const hid_t space =
      shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(int(shape.size()), extents.data(), nullptr);
  return {checked(space, "dataspace"), H5Sclose};
}

/// Every step on the way to `path` is a plain link, not one that leads out of the file.
void expect_hard_links(hid_t file, const std::string& path) {
  for (std::size_t end = path.find('/');; end = path.find('/', end + 1)) {
    const std::string step = path.substr(0, end);
    H5L_info_t link;
    checked(H5Lget_info(file, step.c_str(), &link, H5P_DEFAULT), "no '" + step + "' in it");
    if (link.type != H5L_TYPE_HARD) throw Hdf5Error("'" + step + "' is a link out of its group");
    if (end == std::string::npos) return;
  }
}

void expect_plain_storage(hid_t dataset, const std::string& path) {
  const Handle creation(checked(H5Dget_create_plist(dataset), path), H5Pclose);
  const bool plain = H5Pget_layout(creation.get()) == H5D_CONTIGUOUS &&
                     H5Pget_nfilters(creation.get()) == 0 && H5Pget_external_count(creation.get()) == 0;
  if (!plain) throw Hdf5Error("'" + path + "' is not a contiguous dataset");
}

void select(hid_t space, const models::Slab& slab) {
  if (slab.ranges.empty()) return;  // a scalar: all of it is selected
  std::vector<hsize_t> start, count;
  for (const Range& range : slab.ranges) {
    start.push_back(hsize_t(range.begin));
    count.push_back(hsize_t(range.size()));
  }
  checked(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "selection of a slab");
}

/// Lets what HDF5 still wants to write to a file go nowhere. Where it cannot write, it cannot close the file,
/// and a file that it could not close it touches again, freed, when the program ends (HDF5 1.10).
void write_to_memory(hid_t file) {
  void* descriptor = nullptr;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) < 0) return;
  const int memory = ::memfd_create("checkpoint", MFD_CLOEXEC);
  if (memory < 0) return;
  ::dup2(memory, *static_cast<int*>(descriptor));
  ::close(memory);
}

}  // namespace

hid_t checked(hid_t status, const std::string& what) {
  if (status >= 0) return status;
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, &reason);
  throw Hdf5Error(reason.empty() ? what : what + ": " + reason);
}

void Handle::close(const std::string& what) {
  const hid_t id = std::exchange(id_, H5I_INVALID_HID);
  if (id >= 0) checked(close_(id), what);
}

Handle open_to_read(const std::filesystem::path& path) {
  const Handle access = file_access();
  return {checked(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), "cannot be opened"), H5Fclose};
}

void change_file(const std::filesystem::path& path, Change change, const std::function<void(hid_t)>& work) {
  const Handle access = file_access();
  const hid_t id = change == Change::create
                       ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get())
                       : H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get());
  Handle file(checked(id, change == Change::create ? "cannot be created" : "cannot be opened"), H5Fclose);
  try {
    work(file.get());
    checked(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "cannot be flushed");
  } catch (...) {
    write_to_memory(file.get());
    throw;
  }
  file.close("cannot be closed");
}

Handle open_together(const std::filesystem::path& path, MPI_Comm communicator) {
  const Handle access = file_access();
  checked(H5Pset_fapl_mpio(access.get(), communicator, MPI_INFO_NULL), "MPI-IO");
  return {checked(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), "cannot be opened by all ranks"),
          H5Fclose};
}

Handle type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::bfloat16: return float_type(8, 7);
    case Dtype::float16: return float_type(5, 10);
    case Dtype::float32: return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
    case Dtype::float64: return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
    case Dtype::int32: return {H5Tcopy(H5T_STD_I32LE), H5Tclose};
    case Dtype::int64: return {H5Tcopy(H5T_STD_I64LE), H5Tclose};
  }
  throw std::logic_error("no HDF5 type for this Dtype");
}

Dtype dtype_of(hid_t type) {
  const auto* found =
      std::ranges::find_if(kAllDtypes, [&](Dtype dtype) { return H5Tequal(type, type_of(dtype).get()) > 0; });
  if (found == kAllDtypes.end()) throw Hdf5Error("its elements are of a type that moebius does not write");
  return *found;
}

std::int64_t Dataset::bytes() const {
  std::int64_t count = element_bytes;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

Dataset create_dataset(hid_t file, const std::string& path, Handle type, std::vector<std::int64_t> shape) {
  const Handle links(checked(H5Pcreate(H5P_LINK_CREATE), path), H5Pclose);
  checked(H5Pset_create_intermediate_group(links.get(), 1), path);
  checked(H5Pset_char_encoding(links.get(), H5T_CSET_UTF8), path);
  const Handle creation(checked(H5Pcreate(H5P_DATASET_CREATE), path), H5Pclose);
  checked(H5Pset_layout(creation.get(), H5D_CONTIGUOUS), path);
  checked(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), path);
  checked(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), path);
  checked(H5Pset_obj_track_times(creation.get(), false), path);  // equal states make equal files

  const Handle space = space_of(shape);
  Dataset dataset;
  dataset.handle = {checked(H5Dcreate2(file, path.c_str(), type.get(), space.get(), links.get(),
                                       creation.get(), H5P_DEFAULT),
                            "'" + path + "' cannot be created"),
                    H5Dclose};
  dataset.element_bytes = std::int64_t(H5Tget_size(type.get()));
  dataset.type = std::move(type);
  dataset.shape = std::move(shape);
  return dataset;
}

Dataset open_dataset(hid_t file, const std::string& path) {
  expect_hard_links(file, path);
  Dataset dataset;
  dataset.handle = {checked(H5Dopen2(file, path.c_str(), H5P_DEFAULT), "'" + path + "' cannot be opened"),
                    H5Dclose};
  expect_plain_storage(dataset.handle.get(), path);
  dataset.type = {checked(H5Dget_type(dataset.handle.get()), path), H5Tclose};
  dataset.element_bytes = std::int64_t(H5Tget_size(dataset.type.get()));

  const Handle space(checked(H5Dget_space(dataset.handle.get()), path), H5Sclose);
  const int dims = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> extents(std::size_t(checked(dims, path)));
  checked(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), path);
  dataset.shape.assign(extents.begin(), extents.end());
  return dataset;
}

void write_slab(const Dataset& dataset, const models::Slab* slab, const void* elements, hid_t transfer) {
  const Handle file_space = space_of(dataset.shape);
  const Handle memory = space_of({slab == nullptr ? 1 : slab->size()});
  if (slab == nullptr) {
    checked(H5Sselect_none(file_space.get()), "empty selection");
    checked(H5Sselect_none(memory.get()), "empty selection");
  } else {
    select(file_space.get(), *slab);
  }
  checked(
      H5Dwrite(dataset.handle.get(), dataset.type.get(), memory.get(), file_space.get(), transfer, elements),
      "cannot be written");
}

void read_slab(const Dataset& dataset, const models::Slab& slab, void* elements) {
  const Handle file_space = space_of(dataset.shape);
  const Handle memory = space_of({slab.size()});
  select(file_space.get(), slab);
  checked(H5Dread(dataset.handle.get(), dataset.type.get(), memory.get(), file_space.get(), H5P_DEFAULT,
                  elements),
          "cannot be read");
}

Handle collective_transfer(Collective how) {
  Handle transfer(checked(H5Pcreate(H5P_DATASET_XFER), "transfer"), H5Pclose);
  checked(H5Pset_dxpl_mpio(transfer.get(), H5FD_MPIO_COLLECTIVE), "collective transfer");
  const H5FD_mpio_collective_opt_t option =
      how == Collective::each_its_own ? H5FD_MPIO_INDIVIDUAL_IO : H5FD_MPIO_COLLECTIVE_IO;
  checked(H5Pset_dxpl_mpio_collective_opt(transfer.get(), option), "collective transfer");
  return transfer;
}

void write_attribute(hid_t file, const std::string& name, std::int64_t value) {
  const Handle space = space_of({});
  const Handle attribute(
      checked(H5Acreate2(file, name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT), name),
      H5Aclose);
  checked(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), name);
}

void write_attribute(hid_t file, const std::string& name, const std::string& text) {
  const Handle type(checked(H5Tcopy(H5T_C_S1), name), H5Tclose);
  checked(H5Tset_size(type.get(), text.size()), name);
  const Handle space = space_of({});
  const Handle attribute(
      checked(H5Acreate2(file, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), name),
      H5Aclose);
  checked(H5Awrite(attribute.get(), type.get(), text.data()), name);
}

bool has_attribute(hid_t file, const std::string& name) {
  return H5Aexists(file, name.c_str()) > 0;
}

std::int64_t read_integer(hid_t file, const std::string& name) {
  const Handle attribute(checked(H5Aopen(file, name.c_str(), H5P_DEFAULT), "no attribute '" + name + "'"),
                         H5Aclose);
  const Handle space(checked(H5Aget_space(attribute.get()), name), H5Sclose);
  if (H5Sget_simple_extent_npoints(space.get()) != 1)
    throw Hdf5Error("attribute '" + name + "' is no number");
  std::int64_t value = 0;
  checked(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), "attribute '" + name + "'");
  return value;
}

std::string read_text(hid_t file, const std::string& name) {
  const Handle attribute(checked(H5Aopen(file, name.c_str(), H5P_DEFAULT), "no attribute '" + name + "'"),
                         H5Aclose);
  const Handle type(checked(H5Aget_type(attribute.get()), name), H5Tclose);
  const Handle space(checked(H5Aget_space(attribute.get()), name), H5Sclose);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 ||
      H5Sget_simple_extent_npoints(space.get()) != 1)
    throw Hdf5Error("attribute '" + name + "' is no text");
  std::string text(H5Tget_size(type.get()), '\0');
  checked(H5Aread(attribute.get(), type.get(), text.data()), "attribute '" + name + "'");
  return text;
}

}  // namespace moebius::checkpoint

#include "checkpoint/reader.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "checkpoint/checksums.h"
#include "checkpoint/format.h"
#include "checkpoint/hdf5.h"
#include "tensor/view.h"

namespace moebius::checkpoint {
namespace {

using std::filesystem::path;

constexpr std::int64_t kLargestSlab = std::int64_t{1} << 30;  // bytes; a file that asks for more is not ours
constexpr std::int64_t kLargestExtent = std::int64_t{1} << 48;  // of a dim and of their product

std::string shape_of(const std::vector<std::int64_t>& shape) {
  return shape_text(shape.data(), shape.size());
}

std::int64_t element_count(const std::vector<std::int64_t>& shape, const std::string& name) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && count > kLargestExtent / extent))
      throw Hdf5Error("'" + name + "' has an impossible shape " + shape_of(shape));
    count *= extent;
  }
  return count;
}

void expect_inside(const SlabRecord& record, const Dataset& dataset, const std::string& name) {
  bool inside = record.slab.ranges.size() == dataset.shape.size();
  for (std::size_t dim = 0; inside && dim < dataset.shape.size(); ++dim) {
    const Range& range = record.slab.ranges[dim];
    inside = 0 <= range.begin && range.begin < range.end && range.end <= dataset.shape[dim];
  }
  if (!inside || record.slab.size() * dataset.element_bytes > kLargestSlab)
    throw Hdf5Error(
        fmt::format("'{}' of shape {} has no slab {}", name, shape_of(dataset.shape), text_of(record.slab)));
}

/// A model file is going to be a file in some folder: it may not leave it.
void expect_file_name(const std::string& name) {
  const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
  if (!plain) throw Hdf5Error("'" + name + "' is not the name of a model file");
}

/// The elements that `runs` lead to, side by side; in `packed` where they are not so already.
std::span<const std::byte> part_of(std::span<const std::byte> elements, const std::vector<Run>& runs,
                                   std::int64_t element_bytes, std::vector<std::byte>& packed) {
  const std::int64_t bytes = (runs.back().local + runs.back().count) * element_bytes;
  if (runs.size() == 1)
    return elements.subspan(std::size_t(runs.front().whole * element_bytes), std::size_t(bytes));
  if (std::int64_t(packed.size()) < bytes) packed.resize(std::size_t(bytes));
  for (const Run& run : runs)
    std::memcpy(packed.data() + run.local * element_bytes, elements.data() + run.whole * element_bytes,
                std::size_t(run.count * element_bytes));
  return std::span(packed).first(std::size_t(bytes));
}

}  // namespace

class Reader::Impl {
 public:
  explicit Impl(path file) : path_(std::move(file)) {
    if (!std::filesystem::is_regular_file(path_))
      throw InputError(path_.string() + ": there is no such file; a checkpoint is expected here");
    telling([&] {
      file_ = open_to_read(path_);
      expect_format();
      table_ = load_checksums(file_.get());
      load_tensors();
      load_contents();
    });
  }

  /// Turns HDF5's complaints into ours.
  template <class Work>
  void telling(Work&& work) const {
    try {
      work();
    } catch (const Hdf5Error& error) {
      throw DamagedError(fmt::format("{}: not a whole checkpoint: {}", path_.string(), error.what()));
    }
  }

  /// The elements of a slab, in `buffer`. Throws Hdf5Error where they are not what was written.
  std::span<std::byte> load_slab(const Dataset& dataset, const SlabRecord& record,
                                 std::vector<std::byte>& buffer) const {
    const std::int64_t bytes = record.slab.size() * dataset.element_bytes;
    if (std::int64_t(buffer.size()) < bytes) buffer.resize(std::size_t(bytes));
    const std::string& name = table_.tensors[std::size_t(record.tensor)];
    try {
      read_slab(dataset, record.slab, buffer.data());
    } catch (const Hdf5Error& error) {
      throw Hdf5Error(fmt::format("'{}' {}: {}", name, text_of(record.slab), error.what()));
    }
    if (checksum_of(buffer.data(), bytes) != record.checksum)
      throw Hdf5Error(fmt::format("the elements {} of '{}' are not those that were written (wrong checksum)",
                                  text_of(record.slab), name));
    return {buffer.data(), std::size_t(bytes)};
  }

  /// What a parameter is read for and through.
  struct Reading {
    std::size_t parameter;
    std::span<const Slab> wanted;
    const SlabSink& sink;
    std::vector<std::byte>&stored, &packed;
  };
  void read_parameter(const std::string& name, const Reading& reading) const;

  path path_;
  Handle file_;
  ChecksumTable table_;
  std::map<std::string, std::vector<std::size_t>> slabs_of_;  // indices into table_.slabs
  std::vector<StoredTensor> tensors_;
  Contents contents_;

 private:
  void expect_format() const {
    if (!has_attribute(file_.get(), kFormat) || !has_attribute(file_.get(), kFormatVersion))
      throw Hdf5Error("it was not finished, or moebius did not write it");
    const std::int64_t version = read_integer(file_.get(), kFormatVersion);
    if (version != kThisVersion)
      throw InputError(fmt::format("{}: format_version {}; this moebius reads version {}", path_.string(),
                                   version, kThisVersion));
  }

  void load_tensors() {
    for (std::size_t i = 0; i < table_.slabs.size(); ++i) {
      const std::int64_t tensor = table_.slabs[i].tensor;
      if (tensor < 0 || tensor >= std::int64_t(table_.tensors.size()))
        throw Hdf5Error("a checksum of no dataset");
      slabs_of_[table_.tensors[std::size_t(tensor)]].push_back(i);
    }
    for (const std::string& name : table_.tensors) {
      const Dataset dataset = open_dataset(file_.get(), name);
      std::int64_t missing = element_count(dataset.shape, name);
      for (const std::size_t i : slabs_of_[name]) {
        expect_inside(table_.slabs[i], dataset, name);
        missing -= table_.slabs[i].slab.size();
      }
      if (missing != 0) throw Hdf5Error("not all of '" + name + "' was written");
      if (is_tensor(name)) tensors_.push_back({name, dtype_of(dataset.type.get()), dataset.shape});
    }
  }

  static bool is_tensor(const std::string& name) { return name != kJob && !name.starts_with(kModelFolder); }

  void load_contents() {
    contents_.iteration = read_integer(file_.get(), kIteration);
    contents_.samples = read_integer(file_.get(), kSamples);
    contents_.seed = read_integer(file_.get(), kSeed);
    contents_.sequence = read_integer(file_.get(), kSequence);
    if (has_attribute(file_.get(), kStartedOn)) contents_.started_on = read_text(file_.get(), kStartedOn);
    for (const std::string& name : table_.tensors) {
      if (is_tensor(name)) continue;
      if (name == kJob) {
        contents_.job = load_bytes(name);
      } else {
        const std::string file_name = name.substr(kModelFolder.size());
        expect_file_name(file_name);
        contents_.model_files[file_name] = load_bytes(name);
      }
    }
  }

  std::string load_bytes(const std::string& name) {
    const Dataset dataset = open_dataset(file_.get(), name);
    std::vector<std::byte> buffer;
    std::string bytes;
    for (const std::size_t i : slabs_of_[name]) {
      const auto part = load_slab(dataset, table_.slabs[i], buffer);
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    }
    return bytes;
  }
};

void Reader::Impl::read_parameter(const std::string& name, const Reading& reading) const {
  const Dataset dataset = open_dataset(file_.get(), name);
  const Dtype dtype = dtype_of(dataset.type.get());
  const auto slabs = slabs_of_.find(name);
  if (slabs == slabs_of_.end()) return;  // a tensor without elements
  for (const std::size_t i : slabs->second) {
    const Slab& stored = table_.slabs[i].slab;
    std::span<const std::byte> elements;  // of all that is stored here; read when some of it is wanted
    for (const Slab& wanted : reading.wanted) {
      const std::optional<Slab> common = intersection(stored, wanted);
      if (!common) continue;
      if (elements.empty()) elements = load_slab(dataset, table_.slabs[i], reading.stored);
      reading.sink(
          reading.parameter, *common,
          {dtype, part_of(elements, runs_inside(stored, *common), dataset.element_bytes, reading.packed)});
    }
  }
}

Reader::Reader(const path& file) : impl_(std::make_unique<Impl>(file)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader::~Reader() = default;

const path& Reader::file() const {
  return impl_->path_;
}
const Contents& Reader::contents() const {
  return impl_->contents_;
}
const std::vector<StoredTensor>& Reader::tensors() const {
  return impl_->tensors_;
}

bool Reader::has_group(std::string_view group) const {
  return std::ranges::any_of(impl_->tensors_, [&](const StoredTensor& tensor) {
    return tensor.path.starts_with(std::string(group) + "/");
  });
}

void Reader::expect_tensors(std::string_view group, const models::ParameterTable& table) const {
  const std::string prefix = std::string(group) + "/";
  std::map<std::string, const StoredTensor*> stored;
  for (const StoredTensor& tensor : impl_->tensors_) {
    if (tensor.path.starts_with(prefix)) stored[tensor.path.substr(prefix.size())] = &tensor;
  }
  const auto fail = [&](const std::string& text) {
    throw InputError(fmt::format("{}: {}; the checkpoint is of another model", file().string(), text));
  };
  for (const models::Parameter& parameter : table) {
    const auto found = stored.find(parameter.name);
    if (found == stored.end())
      fail(fmt::format("it has no tensor '{}{}', which the model needs", prefix, parameter.name));
    if (found->second->shape != parameter.shape)
      fail(fmt::format("tensor '{}{}' has shape {}, the model needs {}", prefix, parameter.name,
                       shape_of(found->second->shape), shape_of(parameter.shape)));
    stored.erase(found);
  }
  if (!stored.empty()) fail(fmt::format("the model has no tensor '{}{}'", prefix, stored.begin()->first));
}

void Reader::read(std::string_view group, const models::ParameterTable& table, const SlabLists& wanted,
                  const SlabSink& sink) const {
  expect_tensors(group, table);
  std::vector<std::byte> stored, packed;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::string name = std::string(group) + "/" + table[i].name;
    impl_->telling([&] { impl_->read_parameter(name, {i, wanted[i], sink, stored, packed}); });
  }
}

std::vector<std::string> Reader::damage(std::int64_t ranks, std::int64_t rank) const {
  std::vector<std::string> lines;
  std::vector<std::byte> buffer;
  for (auto i = std::size_t(rank); i < impl_->table_.slabs.size(); i += std::size_t(ranks)) {
    const SlabRecord& record = impl_->table_.slabs[i];
    try {
      const std::string& name = impl_->table_.tensors[std::size_t(record.tensor)];
      (void)impl_->load_slab(open_dataset(impl_->file_.get(), name), record, buffer);
    } catch (const Hdf5Error& error) {
      lines.push_back(file().string() + ": " + error.what());
    }
  }
  return lines;
}

}  // namespace moebius::checkpoint

#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "tensor/queue.h"

struct cublasLtContext;  // the libraries' own types, named here so that no header needs them
struct cudnnContext;

namespace moebius::kernels {

/// The GPUs that this process may use.
[[nodiscard]] int device_count();

/// The same GPUs by index, each as anybody on this node would name it.
struct VisibleGpu {
  std::string bus_id;  // "0000:1b:00.0": of the PCI bus; two processes that see one id share the GPU
  std::string name;    // "NVIDIA H200"
};
[[nodiscard]] std::vector<VisibleGpu> visible_gpus();

/// One GPU as this process uses it: a stream, the handles of libraries, and the scratch memory of operations.
/// Its queue carries it to the device twins. One thread uses it.
class Device {
 public:
  /// Makes GPU `index` the current one of this thread. Throws ClusterError where it cannot be used.
  explicit Device(int index);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  [[nodiscard]] Queue<Space::device> queue() { return {stream_, this}; }
  [[nodiscard]] int multiprocessors() const { return multiprocessors_; }
  [[nodiscard]] double clock_hertz() const { return clock_hertz_; }            // the highest
  [[nodiscard]] double memory_bandwidth() const { return memory_bandwidth_; }  // bytes a second, on paper
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::int64_t memory_bytes() const { return memory_bytes_; }  // of the GPU, in use or not
  [[nodiscard]] std::int64_t free_bytes() const;                             // now, whoever uses the rest

  [[nodiscard]] cublasLtContext* blas() { return blas_; }
  [[nodiscard]] cudnnContext* dnn();  // made on first use

  /// Memory for one operation, 256-byte aligned: the next one that asks gets the same. Work on the queue is
  /// done in order, so what was queued before may still use it.
  [[nodiscard]] void* scratch(std::int64_t bytes);
  [[nodiscard]] std::int64_t scratch_bytes() const { return scratch_bytes_; }

  /// Lets `kernel` be launched with so much dynamic shared memory: more than 48 KiB must be asked for.
  void allow_shared_memory(const void* kernel, std::size_t bytes);

  /// What an operation keeps between calls (plans, tuned algorithms): the one object of this type, made with
  /// State(*this) on first use.
  template <class State>
  [[nodiscard]] State& state() {
    std::shared_ptr<void>& kept = states_[std::type_index(typeid(State))];
    if (!kept) kept = std::make_shared<State>(*this);
    return *static_cast<State*>(kept.get());
  }

 private:
  CUstream_st* stream_ = nullptr;
  cublasLtContext* blas_ = nullptr;
  cudnnContext* dnn_ = nullptr;
  void* scratch_ = nullptr;
  std::int64_t scratch_bytes_ = 0, memory_bytes_ = 0;
  int multiprocessors_ = 0;
  double clock_hertz_ = 0, memory_bandwidth_ = 0;
  std::string name_;
  std::vector<const void*> allowed_;  // kernels
  std::unordered_map<std::type_index, std::shared_ptr<void>> states_;
};

}  // namespace moebius::kernels

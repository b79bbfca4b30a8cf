#include "kernels/device/device.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/math.h"
#include "base/text.h"
#include "kernels/device/check.h"

namespace moebius::kernels {
namespace {

double attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());  // no driver, no GPU: not a fault
  return 0;
}

std::vector<VisibleGpu> visible_gpus() {
  std::vector<VisibleGpu> gpus;
  for (int index = 0; index < device_count(); ++index) {
    std::array<char, 32> bus_id{};
    check(cudaDeviceGetPCIBusId(bus_id.data(), int(bus_id.size()), index));
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index));
    gpus.push_back({bus_id.data(), properties.name});
  }
  return gpus;
}

Device::Device(int index) {
  cudaDeviceProp properties;
  if (cudaSetDevice(index) != cudaSuccess || cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    throw ClusterError("GPU " + std::to_string(index) + " of " + std::to_string(device_count()) +
                       " cannot be used: " + cudaGetErrorString(cudaGetLastError()));
  }
  if (properties.major != 9) {
    throw ClusterError("GPU " + std::to_string(index) + " is a " + properties.name + ", compute capability " +
                       std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                       "; built for 9.0 (H100, H200)");
  }
  name_ = properties.name;
  memory_bytes_ = std::int64_t(properties.totalGlobalMem);
  multiprocessors_ = properties.multiProcessorCount;
  clock_hertz_ = 1e3 * attribute(cudaDevAttrClockRate, index);  // given in kHz, as the memory's
  memory_bandwidth_ = 2 * 1e3 * attribute(cudaDevAttrMemoryClockRate, index) *  // at both edges of the clock
                      attribute(cudaDevAttrGlobalMemoryBusWidth, index) / 8;    // bits
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  check(cublasLtCreate(&blas_));
}

Device::~Device() {
  static_cast<void>(cudaStreamSynchronize(stream_));
  states_.clear();
  if (dnn_ != nullptr) cudnnDestroy(dnn_);
  cublasLtDestroy(blas_);
  static_cast<void>(cudaFree(scratch_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

std::int64_t Device::free_bytes() const {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total));
  return std::int64_t(free);
}

void Device::allow_shared_memory(const void* kernel, std::size_t bytes) {
  if (std::find(allowed_.begin(), allowed_.end(), kernel) != allowed_.end()) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
  allowed_.push_back(kernel);
}

cudnnContext* Device::dnn() {
  if (dnn_ == nullptr) {
    check(cudnnCreate(&dnn_));
    check(cudnnSetStream(dnn_, stream_));
  }
  return dnn_;
}

void* Device::scratch(std::int64_t bytes) {
  if (bytes <= scratch_bytes_) return scratch_;
  check(cudaStreamSynchronize(stream_));
  check(cudaFree(scratch_));
  scratch_ = nullptr;
  scratch_bytes_ = 0;
  const std::int64_t size = round_up(bytes, std::int64_t{1} << 20);
  if (cudaMalloc(&scratch_, std::size_t(size)) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw ClusterError("no memory on the GPU for another " + bytes_text(size) + " of scratch");
  }
  scratch_bytes_ = size;
  return scratch_;
}

}  // namespace moebius::kernels

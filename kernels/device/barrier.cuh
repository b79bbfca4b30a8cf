#pragma once
#include <cstdint>

/// Barriers between the warps of a block and its asynchronous copies (PTX ISA, "mbarrier"). A barrier starts
/// in phase 0; a phase ends when all its arrivals, and the bytes promised with them, are there. Threads wait
/// for the parity of the phase that they need.
namespace moebius::kernels {

/// The address that PTX instructions on shared memory take.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return std::uint32_t(__cvta_generic_to_shared(pointer));
}

/// In shared memory.
class alignas(8) Barrier {
 public:
  /// One thread; then `publish_barriers`, and a block-wide barrier before anyone uses it.
  __device__ __forceinline__ void init(std::uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals) : "memory");
  }
  __device__ __forceinline__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
  }
  /// Arrives, and lets the phase end only when asynchronous copies have brought this many bytes more.
  __device__ __forceinline__ void arrive_and_expect(std::uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()), "r"(bytes)
                 : "memory");
  }
  /// Until the phase of this parity has ended; at once where it ended before.
  __device__ __forceinline__ void wait(std::uint32_t parity) {
    while (!try_wait(parity)) {
    }
  }
  /// The same, but a wait of seconds becomes an error of the launch: where it is known that a fault is the
  /// only reason, so that it does not hang the job.
  __device__ __forceinline__ void wait_or_trap(std::uint32_t parity) {
    for (unsigned tries = 0; !try_wait(parity); ++tries) {
      if (tries == kPatience) __trap();
    }
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t address() const { return shared_address(this); }

 private:
  static constexpr unsigned kPatience = 1u << 26;  // tries, of 20 or more cycles each: seconds

  __device__ __forceinline__ bool try_wait(std::uint32_t parity) {
    std::uint32_t done;
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
        : "=r"(done)
        : "r"(address()), "r"(parity)
        : "memory");
    return done != 0;
  }

  std::uint64_t word_;
};

/// Makes barriers that were just initialised known to asynchronous copies.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// __syncthreads for `Threads` threads in whole warps; `id` is 1 to 15.
template <int Threads>
__device__ __forceinline__ void sync_threads(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(Threads) : "memory");
}

/// Writes of this thread to shared memory are seen by the asynchronous copies and products that it, or who
/// synchronises with it, starts afterwards.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace moebius::kernels

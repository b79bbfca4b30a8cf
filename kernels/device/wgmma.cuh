#pragma once
#include <cstdint>

#include "kernels/device/barrier.cuh"

/// Products of a warpgroup (128 threads) on Hopper's tensor cores (PTX ISA, "wgmma"): 64 x 16 times 16 x
/// Width in bf16, added up in fp32, both factors in shared memory as a TMA box 128 bytes wide leaves them
/// (128-byte swizzle, 1024-byte aligned).
///
/// Fragment: warp w of the group holds rows 16 w to 16 w + 15. d[4 j + {0, 1}] of a lane are row lane / 4 and
/// columns 8 j + 2 (lane % 4) + {0, 1}; d[4 j + {2, 3}] are the same columns eight rows below.
namespace moebius::kernels {

/// How a factor lies in shared memory.
enum class Major : int {
  depth = 0,  // a line of 128 bytes is 64 steps of depth of one row (column) of the product
  outer =
      1,  // a line is 64 rows (columns) of the product at one step; such strips of 64 lines stand in a row
};

inline constexpr int kStripBytes = 64 * 128;

/// Describes a factor that begins at `address`. The distance of 8 lines to the next 8 is 1024 bytes in both
/// layouts; the leading distance, that of strips, is not used where depth is innermost.
template <Major Layout>
__device__ __forceinline__ std::uint64_t wgmma_factor(std::uint32_t address) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kEightLines = std::uint64_t{1024 >> 4} << 32;
  constexpr std::uint64_t kLeading = std::uint64_t{Layout == Major::outer ? kStripBytes >> 4 : 1} << 16;
  return kSwizzle128 | kEightLines | kLeading | ((address & 0x3ffff) >> 4);
}
/// What 16 steps of depth add to a description: 32 bytes of a line, or 16 lines.
template <Major Layout>
inline constexpr std::uint64_t kWgmmaStep = (Layout == Major::outer ? 16 * 128 : 32) >> 4;

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most `Pending` committed groups of products are under way.
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// The accumulators are read after this, not before.
template <int Count>
__device__ __forceinline__ void wgmma_settle(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

/// All warps of a warpgroup: gives registers back, or takes them.
template <int Count>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}

template <int Columns>
struct Width {};

#define MOEBIUS_ACCUMULATORS_8(d, i)                                                            \
  "+f"((d)[i]), "+f"((d)[(i) + 1]), "+f"((d)[(i) + 2]), "+f"((d)[(i) + 3]), "+f"((d)[(i) + 4]), \
      "+f"((d)[(i) + 5]), "+f"((d)[(i) + 6]), "+f"((d)[(i) + 7])
#define MOEBIUS_ACCUMULATORS(d, i)                                                                       \
  MOEBIUS_ACCUMULATORS_8(d, i), MOEBIUS_ACCUMULATORS_8(d, (i) + 8), MOEBIUS_ACCUMULATORS_8(d, (i) + 16), \
      MOEBIUS_ACCUMULATORS_8(d, (i) + 24)

/// d += a b, of which the first Width / 2 accumulators take part.
template <Major A, Major B, int Count>
__device__ __forceinline__ void wgmma(Width<64>, float (&d)[Count], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
      "}, %32, %33, p, 1, 1, %34, %35;\n}\n"
      : MOEBIUS_ACCUMULATORS(d, 0)
      : "l"(a), "l"(b), "n"(int(A)), "n"(int(B)));
}

template <Major A, Major B, int Count>
__device__ __forceinline__ void wgmma(Width<128>, float (&d)[Count], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63 "
      "}, %64, %65, p, 1, 1, %66, %67;\n}\n"
      : MOEBIUS_ACCUMULATORS(d, 0), MOEBIUS_ACCUMULATORS(d, 32)
      : "l"(a), "l"(b), "n"(int(A)), "n"(int(B)));
}

template <Major A, Major B, int Count>
__device__ __forceinline__ void wgmma(Width<192>, float (&d)[Count], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95 "
      "}, %96, %97, p, 1, 1, %98, %99;\n}\n"
      : MOEBIUS_ACCUMULATORS(d, 0), MOEBIUS_ACCUMULATORS(d, 32), MOEBIUS_ACCUMULATORS(d, 64)
      : "l"(a), "l"(b), "n"(int(A)), "n"(int(B)));
}

template <Major A, Major B, int Count>
__device__ __forceinline__ void wgmma(Width<256>, float (&d)[Count], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127 "
      "}, %128, %129, p, 1, 1, %130, %131;\n}\n"
      : MOEBIUS_ACCUMULATORS(d, 0), MOEBIUS_ACCUMULATORS(d, 32), MOEBIUS_ACCUMULATORS(d, 64),
        MOEBIUS_ACCUMULATORS(d, 96)
      : "l"(a), "l"(b), "n"(int(A)), "n"(int(B)));
}

#undef MOEBIUS_ACCUMULATORS
#undef MOEBIUS_ACCUMULATORS_8

}  // namespace moebius::kernels

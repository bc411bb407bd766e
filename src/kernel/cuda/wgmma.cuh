// Products of a warpgroup on sm_90's tensor cores: 64 rows, kN columns, 16 deep for 2-byte types, summed in
// f32. They run beside the threads that start them. (PTX ISA, "wgmma", "Matrix-Descriptor Format".)
//
//   start_products();            // registers and shared memory written before are seen
//   multiply...(d, ...) ...      // any number
//   commit_products();
//   wait_products<kLeft>();      // all but the kLeft newest groups have ended
//   settle(d);                   // the compiler now may read d
//
// Between a multiply and its wait nobody touches d, nor the registers of A. Every thread of the warpgroup
// takes part. ptxas serialises products where it cannot prove this (C7510, C7511, C7515, C7519): such a build
// fails.
//
// Accumulators: with g = lane / 4, t = lane % 4 and w the warp in its warpgroup, d[4 i + e] is of row
// 16 w + g + 8 (e / 2), column 8 i + 2 t + e % 2. A in registers: the fragment of mma.m16n8k16 (warp_mma.cuh)
// of the warp's 16 rows, so that accumulators of columns 16 k .. 16 k + 15, rounded, are a[0..3] of step k.
//
// Operands in shared memory are tiles of panels of 128-byte rows with the 128-byte swizzle, as tma.cuh's
// boxes lie:
//   along rows    (K-major): a row is one of M or N, its 64 elements are k. A step of 16 in k is 32 bytes
//   further
//                 within the row; the next 64 k are the next panel.
//   along columns (MN-major): a row is one k, its 64 elements are of M or N. A step of 16 in k is 16 rows
//   further;
//                 the next 64 columns are the next panel, `panel_bytes` away.
//
// For sm_90a: what calls these stands within #ifdef __CUDA_ARCH_FEAT_SM90_ALL.
#pragma once
#include <type_traits>

#include "kernel/cuda/warp_mma.cuh"

namespace floe {

// Bits of a descriptor: 0-13 address, 16-29 leading offset, 32-45 stride offset, all in units of 16 bytes;
// 62-63 the swizzle, 1 for 128 bytes. Eight rows of a panel are 1024 bytes, which is the stride offset of
// both kinds; the leading offset leads to the next panel along columns and is not read along rows.
struct TileDescriptor {
  uint64_t bits;

  __device__ static TileDescriptor along_rows(uint32_t address) { return make(address, 16); }
  __device__ static TileDescriptor along_columns(uint32_t address, uint32_t panel_bytes) {
    return make(address, panel_bytes);
  }
  // The same tile from `bytes` further on, a multiple of 16.
  __device__ TileDescriptor at(uint32_t bytes) const { return {bits + (bytes >> 4)}; }

 private:
  __device__ static TileDescriptor make(uint32_t address, uint32_t leading) {
    const uint64_t low = ((address & 0x3ffff) >> 4) | (leading >> 4) << 16;
    constexpr uint64_t kHigh = (uint64_t{1} << 62) | (uint64_t{1024 >> 4} << 32);
    return {kHigh | low};
  }
};

__device__ inline void start_products() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int kLeft>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kLeft) : "memory");
}
// What an asynchronous instruction writes or reads is not moved across this.
template <int kCount>
__device__ inline void settle(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int kCount>
__device__ inline void settle(uint32_t (&a)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

enum class Along { rows, columns };

// One instruction for each number of columns; d = a b, or d += a b where `add` is not 0.
template <class T, int kN>
struct WarpgroupProduct;

// The accumulators %0..%(n / 2 - 1) of the text and of the list of operands.
#define FLOE_WGMMA_TEXT_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FLOE_WGMMA_TEXT_32 FLOE_WGMMA_TEXT_16 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define FLOE_WGMMA_TEXT_48 FLOE_WGMMA_TEXT_32 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define FLOE_WGMMA_TEXT_64 FLOE_WGMMA_TEXT_48 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define FLOE_WGMMA_TEXT_80 FLOE_WGMMA_TEXT_64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define FLOE_WGMMA_TEXT_96 FLOE_WGMMA_TEXT_80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define FLOE_WGMMA_TEXT_112 FLOE_WGMMA_TEXT_96 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define FLOE_WGMMA_TEXT_128 FLOE_WGMMA_TEXT_112 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define FLOE_WGMMA_TEXT_144 FLOE_WGMMA_TEXT_128 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define FLOE_WGMMA_TEXT_160 FLOE_WGMMA_TEXT_144 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define FLOE_WGMMA_TEXT_176 FLOE_WGMMA_TEXT_160 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define FLOE_WGMMA_TEXT_192 FLOE_WGMMA_TEXT_176 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define FLOE_WGMMA_TEXT_208 FLOE_WGMMA_TEXT_192 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define FLOE_WGMMA_TEXT_224 FLOE_WGMMA_TEXT_208 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define FLOE_WGMMA_TEXT_240 FLOE_WGMMA_TEXT_224 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define FLOE_WGMMA_TEXT_256 FLOE_WGMMA_TEXT_240 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define FLOE_WGMMA_8(i)                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define FLOE_WGMMA_LIST_16 FLOE_WGMMA_8(0)
#define FLOE_WGMMA_LIST_32 FLOE_WGMMA_LIST_16, FLOE_WGMMA_8(8)
#define FLOE_WGMMA_LIST_48 FLOE_WGMMA_LIST_32, FLOE_WGMMA_8(16)
#define FLOE_WGMMA_LIST_64 FLOE_WGMMA_LIST_48, FLOE_WGMMA_8(24)
#define FLOE_WGMMA_LIST_80 FLOE_WGMMA_LIST_64, FLOE_WGMMA_8(32)
#define FLOE_WGMMA_LIST_96 FLOE_WGMMA_LIST_80, FLOE_WGMMA_8(40)
#define FLOE_WGMMA_LIST_112 FLOE_WGMMA_LIST_96, FLOE_WGMMA_8(48)
#define FLOE_WGMMA_LIST_128 FLOE_WGMMA_LIST_112, FLOE_WGMMA_8(56)
#define FLOE_WGMMA_LIST_144 FLOE_WGMMA_LIST_128, FLOE_WGMMA_8(64)
#define FLOE_WGMMA_LIST_160 FLOE_WGMMA_LIST_144, FLOE_WGMMA_8(72)
#define FLOE_WGMMA_LIST_176 FLOE_WGMMA_LIST_160, FLOE_WGMMA_8(80)
#define FLOE_WGMMA_LIST_192 FLOE_WGMMA_LIST_176, FLOE_WGMMA_8(88)
#define FLOE_WGMMA_LIST_208 FLOE_WGMMA_LIST_192, FLOE_WGMMA_8(96)
#define FLOE_WGMMA_LIST_224 FLOE_WGMMA_LIST_208, FLOE_WGMMA_8(104)
#define FLOE_WGMMA_LIST_240 FLOE_WGMMA_LIST_224, FLOE_WGMMA_8(112)
#define FLOE_WGMMA_LIST_256 FLOE_WGMMA_LIST_240, FLOE_WGMMA_8(120)

// i0, i1, ...: the numbers of the operands after the accumulators.
#define FLOE_WGMMA_SHARED(type, n, i0, i1, i2, i3, i4)                                                  \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #i2                                             \
               ", 0;\n"                                                                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" FLOE_WGMMA_TEXT_##n \
               "}, %" #i0 ", %" #i1 ", add, 1, 1, %" #i3 ", %" #i4 ";\n}\n"                             \
               : FLOE_WGMMA_LIST_##n                                                                    \
               : "l"(a.bits), "l"(b.bits), "r"(add), "n"(kA == Along::columns ? 1 : 0),                 \
                 "n"(kB == Along::columns ? 1 : 0))
#define FLOE_WGMMA_REGISTERS(type, n, i0, i1, i2, i3, i4, i5, i6)                                       \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #i5                                             \
               ", 0;\n"                                                                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" FLOE_WGMMA_TEXT_##n \
               "}, {%" #i0 ", %" #i1 ", %" #i2 ", %" #i3 "}, %" #i4 ", add, 1, 1, %" #i6 ";\n}\n"       \
               : FLOE_WGMMA_LIST_##n                                                                    \
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b.bits), "r"(add),                             \
                 "n"(kB == Along::columns ? 1 : 0))
#define FLOE_WGMMA_COLUMNS(n, i0, i1, i2, i3, i4, i5, i6)                                                   \
  template <class T>                                                                                        \
  struct WarpgroupProduct<T, n> {                                                                           \
    template <Along kA, Along kB>                                                                           \
    __device__ static void shared(float (&d)[n / 2], TileDescriptor a, TileDescriptor b, int add) {         \
      if constexpr (std::is_same_v<T, __nv_bfloat16>) {                                                     \
        FLOE_WGMMA_SHARED("bf16", n, i0, i1, i2, i3, i4);                                                   \
      } else {                                                                                              \
        FLOE_WGMMA_SHARED("f16", n, i0, i1, i2, i3, i4);                                                    \
      }                                                                                                     \
    }                                                                                                       \
    template <Along kB>                                                                                     \
    __device__ static void registers(float (&d)[n / 2], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, \
                                     TileDescriptor b, int add) {                                           \
      if constexpr (std::is_same_v<T, __nv_bfloat16>) {                                                     \
        FLOE_WGMMA_REGISTERS("bf16", n, i0, i1, i2, i3, i4, i5, i6);                                        \
      } else {                                                                                              \
        FLOE_WGMMA_REGISTERS("f16", n, i0, i1, i2, i3, i4, i5, i6);                                         \
      }                                                                                                     \
    }                                                                                                       \
  }
FLOE_WGMMA_COLUMNS(16, 8, 9, 10, 11, 12, 13, 14);
FLOE_WGMMA_COLUMNS(32, 16, 17, 18, 19, 20, 21, 22);
FLOE_WGMMA_COLUMNS(48, 24, 25, 26, 27, 28, 29, 30);
FLOE_WGMMA_COLUMNS(64, 32, 33, 34, 35, 36, 37, 38);
FLOE_WGMMA_COLUMNS(80, 40, 41, 42, 43, 44, 45, 46);
FLOE_WGMMA_COLUMNS(96, 48, 49, 50, 51, 52, 53, 54);
FLOE_WGMMA_COLUMNS(112, 56, 57, 58, 59, 60, 61, 62);
FLOE_WGMMA_COLUMNS(128, 64, 65, 66, 67, 68, 69, 70);
FLOE_WGMMA_COLUMNS(144, 72, 73, 74, 75, 76, 77, 78);
FLOE_WGMMA_COLUMNS(160, 80, 81, 82, 83, 84, 85, 86);
FLOE_WGMMA_COLUMNS(176, 88, 89, 90, 91, 92, 93, 94);
FLOE_WGMMA_COLUMNS(192, 96, 97, 98, 99, 100, 101, 102);
FLOE_WGMMA_COLUMNS(208, 104, 105, 106, 107, 108, 109, 110);
FLOE_WGMMA_COLUMNS(224, 112, 113, 114, 115, 116, 117, 118);
FLOE_WGMMA_COLUMNS(240, 120, 121, 122, 123, 124, 125, 126);
FLOE_WGMMA_COLUMNS(256, 128, 129, 130, 131, 132, 133, 134);

#undef FLOE_WGMMA_COLUMNS
#undef FLOE_WGMMA_REGISTERS
#undef FLOE_WGMMA_SHARED

// d[64 x kN] = or += a b over kK: A and B in shared memory. `a_panel`, `b_panel`: bytes from a panel to the
// next. The descriptors are of the tiles' beginnings.
template <class T, int kN, int kK, Along kA, Along kB>
__device__ inline void multiply_shared(float (&d)[kN / 2], TileDescriptor a, uint32_t a_panel,
                                       TileDescriptor b, uint32_t b_panel, bool add) {
#pragma unroll
  for (int k = 0; k < kK / 16; ++k) {
    const uint32_t a_at = kA == Along::rows ? k / 4 * a_panel + k % 4 * 32 : k * 2048;
    const uint32_t b_at = kB == Along::rows ? k / 4 * b_panel + k % 4 * 32 : k * 2048;
    WarpgroupProduct<T, kN>::template shared<kA, kB>(d, a.at(a_at), b.at(b_at), add || k > 0 ? 1 : 0);
  }
}
// A in registers: a[4 k .. 4 k + 3] is the fragment of step k.
template <class T, int kN, int kK, Along kB>
__device__ inline void multiply_registers(float (&d)[kN / 2], const uint32_t (&a)[kK / 4], TileDescriptor b,
                                          uint32_t b_panel, bool add) {
#pragma unroll
  for (int k = 0; k < kK / 16; ++k) {
    const uint32_t b_at = kB == Along::rows ? k / 4 * b_panel + k % 4 * 32 : k * 2048;
    WarpgroupProduct<T, kN>::template registers<kB>(d, a[4 * k], a[4 * k + 1], a[4 * k + 2], a[4 * k + 3],
                                                    b.at(b_at), add || k > 0 ? 1 : 0);
  }
}

// Accumulators of kN columns as fragments of A for a product over those columns, rounded half to even.
template <class T, int kN>
__device__ inline void round_to_fragments(const float (&d)[kN / 2], uint32_t (&a)[kN / 4]) {
#pragma unroll
  for (int i = 0; i < kN / 4; ++i) a[i] = pack_pair<T>(d[2 * i], d[2 * i + 1]);
}

// Four 8 x 8 matrices of 2-byte elements to shared memory, the reverse of load_matrices(): lane l gives the
// address of row l % 8 of matrix l / 8 and holds of each matrix row g, columns 2t, 2t+1.
__device__ inline void store_matrices(uint32_t row, uint32_t m0, uint32_t m1, uint32_t m2, uint32_t m3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(row), "r"(m0),
               "r"(m1), "r"(m2), "r"(m3)
               : "memory");
}

}  // namespace floe

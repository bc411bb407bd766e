// One panel of a float product on the calling thread: packing and register-blocked multiplication.
//
// The order of every sum, whatever the panel, the CPU or the number of rows: k is cut into chunks of
// kGemmChunk; inside a chunk one accumulator an element, k ascending, fused multiply-add; chunks are added in
// order. AVX-512 and AVX2 give the same bits (the portable target multiplies and adds in two roundings).
#pragma once
#include <cstddef>
#include <cstdint>

namespace floe {

constexpr int64_t kGemmChunk = 256;  // 256 rows of a packed strip of b are 32 KiB: they stay in L1

// Element (i, k) of a is a[i * a_row + k * a_col], so for b.
struct GemmPanel {
  const float* a = nullptr;
  int64_t a_row = 0, a_col = 0;
  const float* b = nullptr;  // not read when packed_b is given
  int64_t b_row = 0, b_col = 0;
  const float* packed_b = nullptr;  // from pack_b_strips, beginning with the panel's first strip
  float* c = nullptr;
  int64_t c_row = 0;
  int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;
  const float* bias = nullptr;  // [n], added last
  float* scratch = nullptr;     // gemm_panel_scratch(m) bytes, 64-byte aligned
};
size_t gemm_panel_scratch(int64_t m);
void gemm_panel(const GemmPanel& panel);

// Columns are packed in strips of two vectors, zeros beside the last: strip s is [k, width] at to + s * k *
// width.
int64_t gemm_strip_width();
void pack_b_strips(const float* b, int64_t b_row, int64_t b_col, int64_t k, int64_t n, int64_t first,
                   int64_t last, float* to);

}  // namespace floe

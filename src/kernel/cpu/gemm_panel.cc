#include "kernel/cpu/gemm_panel.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/gemm_panel.cc"
#include "kernel/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr int kLanes = HWY_LANES(float);
constexpr int kStrip = 2;
constexpr int64_t kWidth = kStrip * kLanes;
// 12 x 2 sums in 32 registers, or 6 x 2 in 16.
constexpr int kRows = kLanes == 16 ? 12 : 6;
// Up to here a row-major b is read once, and so where it lies.
constexpr int64_t kUnpackedRows = kRows;

// c[R, NV vectors]; `columns` of them exist.
template <int R, int NV>
struct Micro {
  static void run(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_col, const float* HWY_RESTRICT b,
                  int64_t b_row, int64_t k, float* HWY_RESTRICT c, int64_t c_row, int64_t columns,
                  bool accumulate) {
    const D d;
    V sum[R][NV];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) sum[r][v] = hn::Zero(d);
    }
    for (int64_t at = 0; at < k; ++at) {
      V right[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) right[v] = hn::LoadU(d, b + at * b_row + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V left = hn::Set(d, a[r * a_row + at * a_col]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
      }
    }
    if (columns == NV * kLanes) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
          float* to = c + r * c_row + v * kLanes;
          hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sum[r][v]) : sum[r][v], d, to);
        }
      }
      return;
    }
    HWY_ALIGN float row[NV * kLanes] = {};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) hn::Store(sum[r][v], d, row + v * kLanes);
      float* to = c + r * c_row;
      for (int64_t j = 0; j < columns; ++j) to[j] = accumulate ? to[j] + row[j] : row[j];
    }
  }
};

using MicroFunction = decltype(&Micro<1, 1>::run);

// The function for a block of `rows` rows, 1..R.
template <int R, int NV>
MicroFunction micro_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return micro_of<R - 1, NV>(rows);
  }
  return &Micro<R, NV>::run;
}

// to [k, width] from columns of b.
void pack_columns(const float* b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns,
                  float* HWY_RESTRICT to) {
  if (b_col == 1) {
    for (int64_t at = 0; at < k; ++at, to += kWidth, b += b_row) {
      int64_t j = 0;
      for (; j < columns; ++j) to[j] = b[j];
      for (; j < kWidth; ++j) to[j] = 0;
    }
    return;
  }
  int64_t done = 0;
#if HWY_TARGET != HWY_SCALAR
  if (columns == kWidth && b_row == 1) {
    // Four k of kLanes columns at once: each 128-bit block of vector i holds column 4 * block + i.
    const D d;
    const hn::Full128<float> d4;
    for (; done + 4 <= k; done += 4) {
      for (int half = 0; half < kStrip; ++half) {
        const auto load = [&](int i) {
          const float* from = b + (half * kLanes + i) * b_col + done;
#if HWY_TARGET <= HWY_AVX3
          const hn::Full256<float> d8;
          return hn::Combine(
              d, hn::Combine(d8, hn::LoadU(d4, from + 12 * b_col), hn::LoadU(d4, from + 8 * b_col)),
              hn::Combine(d8, hn::LoadU(d4, from + 4 * b_col), hn::LoadU(d4, from)));
#else
          return hn::Combine(d, hn::LoadU(d4, from + 4 * b_col), hn::LoadU(d4, from));
#endif
        };
        const hn::RepartitionToWide<D> dw;
        const auto r0 = load(0), r1 = load(1), r2 = load(2), r3 = load(3);
        const auto low01 = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
        const auto low23 = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
        const auto high01 = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
        const auto high23 = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
        float* at = to + done * kWidth + half * kLanes;
        hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, low01, low23)), d, at);
        hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, low01, low23)), d, at + kWidth);
        hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, high01, high23)), d, at + 2 * kWidth);
        hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, high01, high23)), d, at + 3 * kWidth);
      }
    }
  }
#endif
  for (int64_t j = 0; j < kWidth; ++j) {
    for (int64_t at = done; at < k; ++at)
      to[at * kWidth + j] = j < columns ? b[j * b_col + at * b_row] : 0.0f;
  }
}

void pack_strips(const float* b, int64_t b_row, int64_t b_col, int64_t k, int64_t n, int64_t first,
                 int64_t last, float* to) {
  for (int64_t s = first; s < last; ++s) {
    pack_columns(b + s * kWidth * b_col, b_row, b_col, k, std::min(kWidth, n - s * kWidth),
                 to + s * k * kWidth);
  }
}

// A transposed a is gathered into blocks [k, rows of the block]: its own stride may put every k on one cache
// set.
void pack_rows(const GemmPanel& p, int64_t begin, int64_t k, float* HWY_RESTRICT to) {
  for (int64_t row = 0; row < p.m; row += kRows) {
    const int64_t rows = std::min<int64_t>(kRows, p.m - row);
    const float* from = p.a + row * p.a_row + begin * p.a_col;
    for (int64_t at = 0; at < k; ++at, from += p.a_col, to += rows) {
      if (rows == kRows) {
        std::memcpy(to, from, kRows * sizeof(float));
      } else {
        for (int64_t r = 0; r < rows; ++r) to[r] = from[r];
      }
    }
  }
}

struct Strip {
  const float* b;
  int64_t b_row, column, columns;
};

template <int NV>
void multiply(const GemmPanel& p, const float* packed_a, const Strip& strip, int64_t begin, int64_t k) {
  const bool add = p.accumulate || begin > 0;
  for (int64_t row = 0; row < p.m; row += kRows) {
    const int64_t rows = std::min<int64_t>(kRows, p.m - row);
    float* c = p.c + row * p.c_row + strip.column;
    const MicroFunction micro = micro_of < NV == kStrip ? kRows : 1, NV > (rows);
    if (packed_a != nullptr) {
      micro(packed_a + row * k, 1, rows, strip.b, strip.b_row, k, c, p.c_row, strip.columns, add);
    } else {
      micro(p.a + row * p.a_row + begin * p.a_col, p.a_row, p.a_col, strip.b, strip.b_row, k, c, p.c_row,
            strip.columns, add);
    }
  }
}

void add_bias(const GemmPanel& p) {
  const D d;
  for (int64_t i = 0; i < p.m; ++i) {
    float* c = p.c + i * p.c_row;
    int64_t j = 0;
    for (; j + kLanes <= p.n; j += kLanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, c + j), hn::LoadU(d, p.bias + j)), d, c + j);
    }
    for (; j < p.n; ++j) c[j] += p.bias[j];
  }
}

void run_panel(const GemmPanel& p) {
  if (p.k == 0 && !p.accumulate) {
    for (int64_t i = 0; i < p.m; ++i) std::fill_n(p.c + i * p.c_row, p.n, 0.0f);
  }
  float* const packed_strip = p.scratch;
  float* const rows_scratch = p.scratch + kGemmChunk * kWidth;
  for (int64_t begin = 0; begin < p.k; begin += kGemmChunk) {
    const int64_t k = std::min(kGemmChunk, p.k - begin);
    const float* packed_a = nullptr;
    if (p.a_row == 1 && p.a_col != 1 && p.m > 1) {
      pack_rows(p, begin, k, rows_scratch);
      packed_a = rows_scratch;
    }
    const float* b = p.b + begin * p.b_row;
    int64_t column = 0;
    if (p.packed_b == nullptr && p.b_col == 1 && p.m <= kUnpackedRows) {
      if (p.m == 1) {  // eight sums at once hide the latency of a fused multiply-add
        for (; column + 8 * kLanes <= p.n; column += 8 * kLanes) {
          multiply<8>(p, packed_a, {b + column, p.b_row, column, 8 * kLanes}, begin, k);
        }
      }
      for (; column + kWidth <= p.n; column += kWidth) {
        multiply<kStrip>(p, packed_a, {b + column, p.b_row, column, kWidth}, begin, k);
      }
    }
    for (; column < p.n; column += kWidth) {
      const int64_t columns = std::min(kWidth, p.n - column);
      const float* strip = packed_strip;
      if (p.packed_b != nullptr) {
        strip = p.packed_b + column * p.k + begin * kWidth;
      } else {
        pack_columns(b + column * p.b_col, p.b_row, p.b_col, k, columns, packed_strip);
      }
      multiply<kStrip>(p, packed_a, {strip, kWidth, column, columns}, begin, k);
    }
  }
  if (p.bias != nullptr) add_bias(p);
}

int64_t strip_width() { return kWidth; }

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {

HWY_EXPORT(run_panel);
HWY_EXPORT(pack_strips);
HWY_EXPORT(strip_width);

size_t gemm_panel_scratch(int64_t m) {
  return static_cast<size_t>(kGemmChunk) * static_cast<size_t>(gemm_strip_width() + m + 16) * sizeof(float);
}

void gemm_panel(const GemmPanel& panel) { HWY_DYNAMIC_DISPATCH(run_panel)(panel); }

int64_t gemm_strip_width() { return HWY_DYNAMIC_DISPATCH(strip_width)(); }

void pack_b_strips(const float* b, int64_t b_row, int64_t b_col, int64_t k, int64_t n, int64_t first,
                   int64_t last, float* to) {
  HWY_DYNAMIC_DISPATCH(pack_strips)(b, b_row, b_col, k, n, first, last, to);
}

}  // namespace floe
#endif

#include "kernel/cpu/int8_tile.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernel/cpu/int8_amx.h"

#if defined(__x86_64__)
#include <hwy/base.h>
#include <immintrin.h>
#endif

namespace floe {
namespace {

void scalar_tile(const Int8Tile& t) {
  uint32_t sums[kInt8MostRows * kInt8Columns] = {};
  if (t.add) std::memcpy(sums, t.sums, sizeof(int32_t) * static_cast<size_t>(t.rows * kInt8Columns));
  for (int64_t g = 0; g < t.groups; ++g) {
    for (int r = 0; r < t.rows; ++r) {
      const int8_t* a = t.a + (g * t.rows + r) * kInt8Group;
      for (int64_t c = 0; c < kInt8Columns; ++c) {
        const uint8_t* b = t.b + (g * kInt8Columns + c) * kInt8Group;
        for (int64_t i = 0; i < kInt8Group; ++i)
          sums[r * kInt8Columns + c] += static_cast<uint32_t>(a[i] * b[i]);
      }
    }
  }
  std::memcpy(t.sums, sums, sizeof(int32_t) * static_cast<size_t>(t.rows * kInt8Columns));
}

#if defined(__x86_64__)

int32_t codes_at(const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, sizeof four);
  return four;
}

// R rows, U sums for each element so that a short block hides the latency of an addition.
template <int R>
constexpr int kSumsEach = R <= 3   ? 4
                          : R <= 6 ? 2
                                   : 1;

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512vnni")
template <int R>
void vnni_rows(const Int8Tile& t) {
  constexpr int U = kSumsEach<R>;
  __m512i sum[U][R][2];
#pragma GCC unroll 4
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) sum[u][r][0] = sum[u][r][1] = _mm512_setzero_si512();
  }
  const int8_t* a = t.a;
  const uint8_t* b = t.b;
  int64_t g = 0;
  for (; g + U <= t.groups; g += U) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u, a += R * kInt8Group, b += kInt8Columns * kInt8Group) {
      const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const __m512i left = _mm512_set1_epi32(codes_at(a + r * kInt8Group));
        sum[u][r][0] = _mm512_dpbusd_epi32(sum[u][r][0], b0, left);
        sum[u][r][1] = _mm512_dpbusd_epi32(sum[u][r][1], b1, left);
      }
    }
  }
  for (; g < t.groups; ++g, a += R * kInt8Group, b += kInt8Columns * kInt8Group) {
    const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512i left = _mm512_set1_epi32(codes_at(a + r * kInt8Group));
      sum[0][r][0] = _mm512_dpbusd_epi32(sum[0][r][0], b0, left);
      sum[0][r][1] = _mm512_dpbusd_epi32(sum[0][r][1], b1, left);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int u = 1; u < U; ++u) {
      sum[0][r][0] = _mm512_add_epi32(sum[0][r][0], sum[u][r][0]);
      sum[0][r][1] = _mm512_add_epi32(sum[0][r][1], sum[u][r][1]);
    }
    int32_t* to = t.sums + r * kInt8Columns;
    if (t.add) {
      sum[0][r][0] = _mm512_add_epi32(sum[0][r][0], _mm512_load_si512(to));
      sum[0][r][1] = _mm512_add_epi32(sum[0][r][1], _mm512_load_si512(to + 16));
    }
    _mm512_store_si512(to, sum[0][r][0]);
    _mm512_store_si512(to + 16, sum[0][r][1]);
  }
}
HWY_POP_ATTRIBUTES

// A lane of 32 bits holds a pair of products, a column two lanes. (maskz where GCC's headers would warn.)
HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl")
template <int R>
void avx512bw_rows(const Int8Tile& t, int first) {
  constexpr int V = 4;  // of 8 columns
  __m512i sum[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = _mm512_setzero_si512();
  }
  for (int64_t g = 0; g < t.groups; ++g) {
    const uint8_t* b = t.b + g * kInt8Columns * kInt8Group;
    const int8_t* a = t.a + (g * t.rows + first) * kInt8Group;
    __m512i right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      right[v] = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + v * 32)));
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512i left = _mm512_set1_epi64(
          _mm_cvtsi128_si64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(codes_at(a + r * kInt8Group)))));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_add_epi32(sum[r][v], _mm512_madd_epi16(right[v], left));
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512i pairs = _mm512_add_epi32(sum[r][v], _mm512_maskz_srli_epi64(0xFF, sum[r][v], 32));
      __m256i columns = _mm512_maskz_cvtepi64_epi32(0xFF, pairs);
      auto* to = reinterpret_cast<__m256i*>(t.sums + (first + r) * kInt8Columns + v * 8);
      if (t.add) columns = _mm256_add_epi32(columns, _mm256_load_si256(to));
      _mm256_store_si256(to, columns);
    }
  }
}
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES("avx2")
template <int R>
void avx2_rows(const Int8Tile& t, int first, int64_t column) {
  constexpr int V = 4;  // of 4 columns
  __m256i sum[R][V];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = _mm256_setzero_si256();
  }
  for (int64_t g = 0; g < t.groups; ++g) {
    const uint8_t* b = t.b + (g * kInt8Columns + column) * kInt8Group;
    const int8_t* a = t.a + (g * t.rows + first) * kInt8Group;
    __m256i right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      right[v] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + v * 16)));
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const __m256i left =
          _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(codes_at(a + r * kInt8Group))));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(right[v], left));
    }
  }
  // hadd works on halves of 128 bits: the four columns of a vector end up in pairs.
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    int32_t* to = t.sums + (first + r) * kInt8Columns + column;
    for (int v = 0; v < V; v += 2) {
      __m256i columns = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][v], sum[r][v + 1]), 0xD8);
      auto* at = reinterpret_cast<__m256i*>(to + v * 4);
      if (t.add) columns = _mm256_add_epi32(columns, _mm256_load_si256(at));
      _mm256_store_si256(at, columns);
    }
  }
}
HWY_POP_ATTRIBUTES

template <int R>
void vnni_tile(const Int8Tile& t) {
  if constexpr (R > 1) {
    if (t.rows < R) return vnni_tile<R - 1>(t);
  }
  vnni_rows<R>(t);
}

constexpr int kBwRows = 6;  // 24 sums of 32 registers
template <int R>
void avx512bw_some(const Int8Tile& t, int first, int rows) {
  if constexpr (R > 1) {
    if (rows < R) return avx512bw_some<R - 1>(t, first, rows);
  }
  avx512bw_rows<R>(t, first);
}
void avx512bw_tile(const Int8Tile& t) {
  for (int r = 0; r < t.rows; r += kBwRows) avx512bw_some<kBwRows>(t, r, std::min(kBwRows, t.rows - r));
}

void avx2_tile(const Int8Tile& t) {
  for (int64_t column = 0; column < kInt8Columns; column += 16) {
    int r = 0;
    for (; r + 2 <= t.rows; r += 2) avx2_rows<2>(t, r, column);
    if (r < t.rows) avx2_rows<1>(t, r, column);
  }
}

#endif

std::vector<Int8Target> targets_of_cpu() {
  std::vector<Int8Target> list{Int8Target::scalar};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) list.push_back(Int8Target::avx2);
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (wide) list.push_back(Int8Target::avx512bw);
  const bool vnni = wide && __builtin_cpu_supports("avx512vnni");
  if (vnni) list.push_back(Int8Target::vnni);
  if (vnni && amx_available()) list.push_back(Int8Target::amx);
#endif
  return list;
}

Int8Target wanted_target() {
  const char* name = std::getenv("FLOE_INT8");
  if (name == nullptr || *name == '\0') return int8_targets().back();
  std::string names;
  for (const Int8Target target : int8_targets()) {
    if (name_of(target) == name) return target;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name_of(target));
  }
  fail_user("FLOE_INT8 is '{}'; this CPU has {}", name, names);
}

std::atomic<Int8Target>& current() {
  static std::atomic<Int8Target> target = wanted_target();
  return target;
}

}  // namespace

std::string_view name_of(Int8Target target) {
  constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512bw", "vnni", "amx"};
  return kNames[static_cast<int>(target)];
}

const std::vector<Int8Target>& int8_targets() {
  static const std::vector<Int8Target> list = targets_of_cpu();
  return list;
}

Int8Target int8_target() { return current(); }
void force_int8_target(Int8Target target) { current() = target; }

void int8_tile(Int8Target target, const Int8Tile& tile) {
  switch (target) {
#if defined(__x86_64__)
    case Int8Target::vnni:
    case Int8Target::amx:
      return vnni_tile<kInt8MostRows>(tile);
    case Int8Target::avx512bw:
      return avx512bw_tile(tile);
    case Int8Target::avx2:
      return avx2_tile(tile);
#endif
    default:
      return scalar_tile(tile);
  }
}

}  // namespace floe

#include "kernel/cpu/gemm_int8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/cpu/int8_amx.h"
#include "kernel/cpu/int8_finish.h"
#include "kernel/cpu/int8_tile.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

constexpr int64_t kPanelRows = 96;      // a multiple of a tile's 12
constexpr int64_t kPanelColumns = 512;  // 192 KiB of c: in L2 when the epilogue comes
constexpr int64_t kMinRows = kInt8MostRows;
constexpr int64_t kMinColumns = 2 * kInt8Columns;
constexpr int64_t kPanelsWanted = 16;  // so that 16 threads have one each
constexpr double kWorthMicros = 15;    // below, handing a panel to another thread costs more than it gives
constexpr int64_t kPackBytes = 1 << 15;
constexpr int32_t kShift = 128;
// Of k at a time: 16 KiB of a strip of b, 6 of a block of a and the panel's sums stay in L1.
constexpr int64_t kChunkGroups = 128;
constexpr int64_t kAmxGroups = kAmxDepth / kInt8Group;
static_assert(kChunkGroups % kAmxGroups == 0, "chunks are whole tiles of AMX but for the last");

// A guess from the peak of one core and the bandwidth of its L2; only the ratio to kWorthMicros matters.
double micros(int64_t rows, int64_t columns, int64_t k) {
  const double r = static_cast<double>(rows), c = static_cast<double>(columns), d = static_cast<double>(k);
  return 2 * r * c * d / 600e3 + c * d / 40e3;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t halve(int64_t size, int64_t multiple) { return ceil_div(ceil_div(size, 2), multiple) * multiple; }
size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// A thread's scratch: a's panel in blocks of 12 rows, what to take off each row, sums of a strip.
struct Scratch {
  int8_t* a;
  int32_t* take_off;
  int32_t* sums;
};
size_t bytes_of_a(int64_t rows, int64_t groups) {
  return round_up(static_cast<size_t>(rows * groups * kInt8Group));
}
size_t bytes_of_rows(int64_t rows) { return round_up(static_cast<size_t>(rows) * sizeof(int32_t)); }
Scratch scratch_at(void* memory, int64_t rows, int64_t groups) {
  char* at = static_cast<char*>(memory);
  char* take_off = at + bytes_of_a(rows, groups);
  return {reinterpret_cast<int8_t*>(at), reinterpret_cast<int32_t*>(take_off),
          reinterpret_cast<int32_t*>(take_off + bytes_of_rows(rows))};
}

int32_t sum_of(const int8_t* row, int64_t k) {
  int64_t l = 0;
  int32_t sum = 0;
#if defined(__SSE2__)
  const __m128i zero = _mm_setzero_si128(), shift = _mm_set1_epi8(-128);
  __m128i sums = zero;  // of the bytes plus 128
  for (; l + 16 <= k; l += 16) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + l));
    sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_xor_si128(codes, shift), zero));
  }
  sum = _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums))) -
        static_cast<int32_t>(kShift * l);
#endif
  for (; l < k; ++l) sum += row[l];
  return sum;
}

// a's rows as [groups, rows, 4], zeros beyond k.
void pack_rows(const int8_t* a, int64_t k, int64_t rows, int8_t* to) {
  const int64_t whole = k / kInt8Group;
  for (int64_t r = 0; r < rows;) {
    int64_t g = 0, taken = 1;
#if defined(__SSE2__)
    if (r + 4 <= rows) {  // four groups of four rows at once
      taken = 4;
      for (; g + 4 <= whole; g += 4) {
        __m128i x[4];
        for (int64_t i = 0; i < 4; ++i)
          x[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + (r + i) * k + g * kInt8Group));
        const __m128i low01 = _mm_unpacklo_epi32(x[0], x[1]), low23 = _mm_unpacklo_epi32(x[2], x[3]);
        const __m128i high01 = _mm_unpackhi_epi32(x[0], x[1]), high23 = _mm_unpackhi_epi32(x[2], x[3]);
        const __m128i y[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23),
                              _mm_unpacklo_epi64(high01, high23), _mm_unpackhi_epi64(high01, high23)};
        for (int64_t i = 0; i < 4; ++i)
          _mm_storeu_si128(reinterpret_cast<__m128i*>(to + ((g + i) * rows + r) * kInt8Group), y[i]);
      }
    }
#endif
    for (int64_t i = r; i < r + taken; ++i) {
      const int8_t* row = a + i * k;
      for (int64_t at = g; at < whole; ++at)
        std::memcpy(to + (at * rows + i) * kInt8Group, row + at * kInt8Group, kInt8Group);
      if (whole * kInt8Group == k) continue;
      int8_t tail[kInt8Group] = {};
      std::copy(row + whole * kInt8Group, row + k, tail);
      std::memcpy(to + (whole * rows + i) * kInt8Group, tail, kInt8Group);
    }
    r += taken;
  }
}

}  // namespace

GemmInt8::GemmInt8(int64_t m, int64_t n, int64_t k) : m_(m), n_(n), k_(k), groups_(ceil_div(k, kInt8Group)) {
  if (k > kMostInt8Depth)
    fail_user("an INT8 product of depth {} may overflow; {} is the most", k, kMostInt8Depth);
  if (m == 0 || n == 0) return;
  rows_ = std::min(m, kPanelRows);
  columns_ = std::min(n, kPanelColumns);
  while (ceil_div(m, rows_) * ceil_div(n, columns_) < kPanelsWanted &&
         micros(rows_, columns_, k) > 2 * kWorthMicros) {
    // Many rows first: a's are packed anew for every panel of columns.
    if (rows_ >= 4 * kAmxRows) {
      rows_ = halve(rows_, 2 * kAmxRows);
    } else if (columns_ >= 2 * kMinColumns) {
      columns_ = halve(columns_, kMinColumns);
    } else if (rows_ >= 2 * kMinRows) {
      rows_ = halve(rows_, kMinRows);
    } else {
      break;
    }
  }
  row_panels_ = ceil_div(m, rows_);
  column_panels_ = ceil_div(n, columns_);
}

GemmInt8::Panel GemmInt8::panel(int64_t index) const {
  const int64_t row = index / column_panels_ * rows_;
  const int64_t column = index % column_panels_ * columns_;
  return {row, std::min(rows_, m_ - row), column, std::min(columns_, n_ - column)};
}

size_t GemmInt8::packed_bytes() const {
  return static_cast<size_t>(ceil_div(n_, kInt8Columns) * kInt8Columns * groups_ * kInt8Group);
}

void GemmInt8::pack(const int8_t* b, void* packed, ThreadPool& pool) const {
  const int64_t strip_bytes = kInt8Columns * groups_ * kInt8Group;
  const int64_t grain = std::max<int64_t>(1, kPackBytes / std::max<int64_t>(1, strip_bytes));
  pool.run_ranges(ceil_div(n_, kInt8Columns), grain, [&](int64_t first, int64_t last, int) {
    for (int64_t s = first; s < last; ++s) {
      uint8_t* to = static_cast<uint8_t*>(packed) + s * strip_bytes;
      std::memset(to, kShift, static_cast<size_t>(strip_bytes));
      const int64_t columns = std::min(kInt8Columns, n_ - s * kInt8Columns);
      for (int64_t c = 0; c < columns; ++c) {
        const int8_t* from = b + (s * kInt8Columns + c) * k_;
        for (int64_t l = 0; l < k_; ++l) {
          to[(l / kInt8Group * kInt8Columns + c) * kInt8Group + l % kInt8Group] =
              static_cast<uint8_t>(from[l] + kShift);
        }
      }
    }
  });
}

size_t GemmInt8::scratch() const {
  return bytes_of_a(rows_, groups_) + bytes_of_rows(rows_) +
         static_cast<size_t>(rows_ * kInt8Columns) * sizeof(int32_t);
}

size_t GemmInt8::workspace(int threads, bool packed_b) const {
  return scratch() * static_cast<size_t>(threads) + (packed_b ? 0 : round_up(packed_bytes()));
}

void GemmInt8::run_panel(const Operands& at, const Panel& p, void* memory) const {
  const Int8Target target = int8_target();
  const Scratch scratch = scratch_at(memory, rows_, groups_);
  // AMX takes these rows and this much of k, tiles what is left.
  const int64_t amx_groups = target == Int8Target::amx ? k_ / kAmxDepth * kAmxGroups : 0;
  const int64_t amx_end = amx_groups == 0 ? 0 : p.rows / kAmxRows * kAmxRows;
  std::optional<AmxTiles> tiles;
  if (amx_end > 0) tiles.emplace();
  // f(first row, how many, first group) for blocks of tiles.
  const auto each_block = [&](auto f) {
    for (int64_t row = amx_groups < groups_ ? 0 : amx_end; row < p.rows;) {
      const int64_t end = row < amx_end ? amx_end : p.rows;
      const int64_t rows = std::min(kInt8MostRows, end - row);
      f(row, rows, row < amx_end ? amx_groups : 0);
      row += rows;
    }
  };
  each_block([&](int64_t row, int64_t rows, int64_t) {
    pack_rows(at.a + (p.row + row) * k_, k_, rows, scratch.a + row * groups_ * kInt8Group);
  });
  for (int64_t row = 0; row < p.rows; ++row)
    scratch.take_off[row] = kShift * sum_of(at.a + (p.row + row) * k_, k_);
  const auto* strip = static_cast<const uint8_t*>(at.packed_b) + p.column * groups_ * kInt8Group;
  for (int64_t column = p.column; column < p.column + p.columns;
       column += kInt8Columns, strip += kInt8Columns * groups_ * kInt8Group) {
    int64_t group = 0;
    do {
      const int64_t end = std::min(groups_, group + kChunkGroups);
      const uint8_t* b = strip + group * kInt8Columns * kInt8Group;
      const int64_t blocks = (std::min(end, amx_groups) - group) / kAmxGroups;
      for (int64_t row = 0; row < amx_end && blocks > 0;) {
        const bool two = row + 2 * kAmxRows <= amx_end;
        amx_rows({.a = at.a + (p.row + row) * k_ + group * kInt8Group,
                  .a_row = k_,
                  .b = b,
                  .blocks = blocks,
                  .two = two,
                  .sums = scratch.sums + row * kInt8Columns,
                  .add = group > 0});
        row += two ? 2 * kAmxRows : kAmxRows;
      }
      each_block([&](int64_t row, int64_t rows, int64_t first) {
        const int64_t begin = std::max(group, first);
        if (begin > end || (begin == end && groups_ > 0)) return;
        int8_tile(target, {.a = scratch.a + (row * groups_ + begin * rows) * kInt8Group,
                           .b = strip + begin * kInt8Columns * kInt8Group,
                           .groups = end - begin,
                           .rows = static_cast<int>(rows),
                           .sums = scratch.sums + row * kInt8Columns,
                           .add = begin > 0});
      });
      group = end;
    } while (group < groups_);
    int8_finish({.sums = scratch.sums,
                 .take_off = scratch.take_off,
                 .a_scale = at.a_scale + (at.a_scale_each ? p.row : 0),
                 .a_step = at.a_scale_each ? 1 : 0,
                 .b_scale = at.b_scale + (at.b_scale_each ? column : 0),
                 .b_each = at.b_scale_each,
                 .bias = at.bias == nullptr ? nullptr : at.bias + column,
                 .c = at.c + p.row * n_ + column,
                 .c_row = n_,
                 .rows = p.rows,
                 .columns = std::min(kInt8Columns, p.column + p.columns - column)});
  }
}

void GemmInt8::run(const Operands& operands, void* workspace, ThreadPool& pool,
                   const Epilogue& epilogue) const {
  if (panels() == 0) return;
  Operands at = operands;
  if (at.packed_b == nullptr) {
    void* packed = static_cast<char*>(workspace) + scratch() * static_cast<size_t>(pool.threads());
    pack(at.b, packed, pool);
    at.packed_b = packed;
  }
  pool.run(panels(), [&](int64_t index, int worker) {
    const Panel p = panel(index);
    run_panel(at, p, static_cast<char*>(workspace) + scratch() * static_cast<size_t>(worker));
    if (epilogue) epilogue(p);
  });
}

}  // namespace floe

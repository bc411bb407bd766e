#include "kernel/cpu/gemm_int8.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
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

// A guess from the peak of one core and the bandwidth of its L2; only the ratio to kWorthMicros matters.
double micros(int64_t rows, int64_t columns, int64_t k) {
  const double r = static_cast<double>(rows), c = static_cast<double>(columns), d = static_cast<double>(k);
  return 2 * r * c * d / 600e3 + c * d / 40e3;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t halve(int64_t size, int64_t multiple) { return ceil_div(ceil_div(size, 2), multiple) * multiple; }
size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// A thread's scratch: a's panel in blocks of 12 rows, what to take off each row, a tile of sums.
struct Scratch {
  int8_t* a;
  int32_t* row_sums;
  int32_t* tile;
};
size_t bytes_of_a(int64_t rows, int64_t groups) {
  return round_up(static_cast<size_t>(rows * groups * kInt8Group));
}
size_t bytes_of_sums(int64_t rows) { return round_up(static_cast<size_t>(rows) * sizeof(int32_t)); }
Scratch scratch_at(void* memory, int64_t rows, int64_t groups) {
  char* at = static_cast<char*>(memory);
  char* sums = at + bytes_of_a(rows, groups);
  return {reinterpret_cast<int8_t*>(at), reinterpret_cast<int32_t*>(sums),
          reinterpret_cast<int32_t*>(sums + bytes_of_sums(rows))};
}

// a's rows as [groups, rows, 4], and 128 times the sum of each.
void pack_rows(const int8_t* a, int64_t k, int64_t rows, int8_t* to, int32_t* row_sums) {
  const int64_t whole = k / kInt8Group;
  for (int64_t r = 0; r < rows; ++r) {
    const int8_t* row = a + r * k;
    int8_t* at = to + r * kInt8Group;
    int32_t sum = 0;
    for (int64_t l = 0; l < k; ++l) sum += row[l];
    row_sums[r] = kShift * sum;
    for (int64_t g = 0; g < whole; ++g)
      std::memcpy(at + g * rows * kInt8Group, row + g * kInt8Group, kInt8Group);
    if (whole * kInt8Group == k) continue;
    int8_t tail[kInt8Group] = {};
    std::copy(row + whole * kInt8Group, row + k, tail);
    std::memcpy(at + whole * rows * kInt8Group, tail, kInt8Group);
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
    // Columns first: a narrower panel reads less of b, and few rows keep their tiles full.
    if (columns_ >= 2 * kMinColumns && columns_ >= rows_) {
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
  return bytes_of_a(rows_, groups_) + bytes_of_sums(rows_) +
         static_cast<size_t>(kInt8MostRows * kInt8Columns) * sizeof(int32_t);
}

size_t GemmInt8::workspace(int threads, bool packed_b) const {
  return scratch() * static_cast<size_t>(threads) + (packed_b ? 0 : round_up(packed_bytes()));
}

void GemmInt8::run_panel(const Operands& at, const Panel& p, void* memory) const {
  const Int8Target target = int8_target();
  const Scratch scratch = scratch_at(memory, rows_, groups_);
  for (int64_t row = 0; row < p.rows; row += kInt8MostRows) {
    pack_rows(at.a + (p.row + row) * k_, k_, std::min(kInt8MostRows, p.rows - row),
              scratch.a + row * groups_ * kInt8Group, scratch.row_sums + row);
  }
  const auto* strip = static_cast<const uint8_t*>(at.packed_b) + p.column * groups_ * kInt8Group;
  for (int64_t column = p.column; column < p.column + p.columns;
       column += kInt8Columns, strip += kInt8Columns * groups_ * kInt8Group) {
    for (int64_t row = 0; row < p.rows; row += kInt8MostRows) {
      const int64_t rows = std::min(kInt8MostRows, p.rows - row);
      int8_tile(target, {.a = scratch.a + row * groups_ * kInt8Group,
                         .b = strip,
                         .groups = groups_,
                         .rows = static_cast<int>(rows),
                         .sums = scratch.tile});
      const int64_t i = p.row + row;
      int8_finish({.sums = scratch.tile,
                   .take_off = scratch.row_sums + row,
                   .a_scale = at.a_scale + (at.a_scale_each ? i : 0),
                   .a_step = at.a_scale_each ? 1 : 0,
                   .b_scale = at.b_scale + (at.b_scale_each ? column : 0),
                   .b_each = at.b_scale_each,
                   .bias = at.bias == nullptr ? nullptr : at.bias + column,
                   .c = at.c + i * n_ + column,
                   .c_row = n_,
                   .rows = rows,
                   .columns = std::min(kInt8Columns, p.column + p.columns - column)});
    }
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

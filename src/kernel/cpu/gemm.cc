#include "kernel/cpu/gemm.h"

#include <algorithm>

#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

constexpr int64_t kPanelRows =
    96;  // a multiple of the 12 and 6 rows of a register block; 96 KiB of a chunk of a
constexpr int64_t kMinRows = 12;
constexpr int64_t kPanelColumns = 1024;  // 384 KiB of c: in L2 when the epilogue comes
constexpr int64_t kMinColumns = 64;      // a multiple of every strip's width
constexpr int64_t kPanelsWanted = 16;    // so that 16 threads have one each
constexpr double kWorthMicros = 15;  // below this handing a panel to another thread costs more than it gives
constexpr int64_t kPackFloats = 1 << 14;  // packed in one go by a thread
constexpr int64_t kPackedDepth =
    4 * kGemmChunk;  // of b at a time, so that it is still in cache when it is read

// A guess from the peak of one core and the bandwidth of its L2; only the ratio to kWorthMicros matters.
double micros(int64_t rows, int64_t columns, int64_t k) {
  const double r = static_cast<double>(rows), c = static_cast<double>(columns), d = static_cast<double>(k);
  return 2 * r * c * d / 150e3 + 4 * c * d / 40e3;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t halve(int64_t size, int64_t multiple) { return ceil_div(ceil_div(size, 2), multiple) * multiple; }
size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

Gemm::Gemm(const GemmShape& shape) : shape_(shape) {
  GemmShape& s = shape_;
  if (s.lda == 0) s.lda = s.transpose_a ? s.m : s.k;
  if (s.ldb == 0) s.ldb = s.transpose_b ? s.k : s.n;
  if (s.ldc == 0) s.ldc = s.n;
  if (s.m == 0 || s.n == 0) return;
  rows_ = std::min(s.m, kPanelRows);
  columns_ = std::min(s.n, kPanelColumns);
  while (ceil_div(s.m, rows_) * ceil_div(s.n, columns_) < kPanelsWanted &&
         micros(rows_, columns_, s.k) > 2 * kWorthMicros) {
    // Columns first: a narrower panel reads less of b, and few rows keep their vectors full.
    if (columns_ >= 2 * kMinColumns && columns_ >= rows_) {
      columns_ = halve(columns_, kMinColumns);
    } else if (rows_ >= 2 * kMinRows) {
      rows_ = halve(rows_, kMinRows);
    } else {
      break;
    }
  }
  row_panels_ = ceil_div(s.m, rows_);
  column_panels_ = ceil_div(s.n, columns_);
}

Gemm::Panel Gemm::panel(int64_t index) const {
  const int64_t row = index / column_panels_ * rows_;
  const int64_t column = index % column_panels_ * columns_;
  return {row, std::min(rows_, shape_.m - row), column, std::min(columns_, shape_.n - column)};
}

size_t Gemm::packed_bytes_of(int64_t k) const {
  const int64_t width = gemm_strip_width();
  return round_up(static_cast<size_t>(ceil_div(shape_.n, width) * width * k) * sizeof(float));
}

size_t Gemm::packed_bytes() const { return packed_bytes_of(shape_.k); }

void Gemm::pack_depth(const float* b, int64_t k, void* packed, ThreadPool& pool) const {
  const GemmShape& s = shape_;
  const int64_t width = gemm_strip_width();
  const int64_t grain = std::max<int64_t>(1, kPackFloats / std::max<int64_t>(1, width * k));
  pool.run_ranges(ceil_div(s.n, width), grain, [&](int64_t first, int64_t last, int) {
    pack_b_strips(b, s.transpose_b ? 1 : s.ldb, s.transpose_b ? s.ldb : 1, k, s.n, first, last,
                  static_cast<float*>(packed));
  });
}

void Gemm::pack(const float* b, void* packed, ThreadPool& pool) const {
  pack_depth(b, shape_.k, packed, pool);
}

size_t Gemm::packed_workspace(int threads) const {
  return round_up(gemm_panel_scratch(rows_)) * static_cast<size_t>(threads);
}

size_t Gemm::workspace(int threads) const {
  return packed_workspace(threads) +
         (row_panels_ > 1 ? packed_bytes_of(std::min(shape_.k, kPackedDepth)) : 0);
}

void Gemm::run(const float* a, const float* b, float* c, const float* bias, void* workspace, ThreadPool& pool,
               const Epilogue& epilogue) const {
  const GemmShape& s = shape_;
  GemmPanel whole;
  whole.a = a;
  whole.b = b;
  whole.c = c;
  whole.k = s.k;
  whole.accumulate = s.accumulate;
  whole.bias = bias;
  if (row_panels_ <= 1 || s.k == 0) {  // each strip is read by one panel only, which packs it on its way
    run_panels(whole, workspace, pool, epilogue);
    return;
  }
  void* packed = static_cast<char*>(workspace) + packed_workspace(pool.threads());
  for (int64_t begin = 0; begin < s.k; begin += kPackedDepth) {
    const bool last = begin + kPackedDepth >= s.k;
    GemmPanel part = whole;
    part.k = std::min(kPackedDepth, s.k - begin);
    part.a += begin * (s.transpose_a ? s.lda : 1);
    part.accumulate = s.accumulate || begin > 0;
    part.bias = last ? bias : nullptr;
    part.packed_b = static_cast<const float*>(packed);
    pack_depth(b + begin * (s.transpose_b ? 1 : s.ldb), part.k, packed, pool);
    run_panels(part, workspace, pool, last ? epilogue : Epilogue());
  }
}

void Gemm::run_packed(const float* a, const void* packed_b, float* c, const float* bias, void* workspace,
                      ThreadPool& pool, const Epilogue& epilogue) const {
  GemmPanel whole;
  whole.a = a;
  whole.c = c;
  whole.k = shape_.k;
  whole.accumulate = shape_.accumulate;
  whole.bias = bias;
  whole.packed_b = static_cast<const float*>(packed_b);
  run_panels(whole, workspace, pool, epilogue);
}

void Gemm::run_panels(GemmPanel whole, void* workspace, ThreadPool& pool, const Epilogue& epilogue) const {
  const GemmShape& s = shape_;
  whole.a_row = s.transpose_a ? 1 : s.lda;
  whole.a_col = s.transpose_a ? s.lda : 1;
  whole.b_row = s.transpose_b ? 1 : s.ldb;
  whole.b_col = s.transpose_b ? s.ldb : 1;
  whole.c_row = s.ldc;
  const size_t scratch = round_up(gemm_panel_scratch(rows_));
  pool.run(panels(), [&](int64_t index, int worker) {
    const Panel at = panel(index);
    GemmPanel p = whole;
    p.m = at.rows;
    p.n = at.columns;
    p.a += at.row * p.a_row;
    p.c += at.row * p.c_row + at.column;
    if (p.packed_b != nullptr) {
      p.packed_b += at.column * p.k;
    } else {
      p.b += at.column * p.b_col;
    }
    if (p.bias != nullptr) p.bias += at.column;
    p.scratch =
        reinterpret_cast<float*>(static_cast<char*>(workspace) + static_cast<size_t>(worker) * scratch);
    gemm_panel(p);
    if (epilogue) epilogue(at);
  });
}

}  // namespace floe

// Float products on the CPU: c = a b [+ bias], or c += a b, cut into panels for a pool of 2 to 16 threads.
//
// The panels depend on the shape alone, and every element is summed in the one order of gemm_panel.h: its
// bits depend on its own row of a and column of b and on nothing else.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernel/cpu/gemm_panel.h"

namespace floe {

class ThreadPool;

struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;           // a is stored [k, m]
  bool transpose_b = false;           // b is stored [n, k]
  int64_t lda = 0, ldb = 0, ldc = 0;  // elements between stored rows; 0: packed
  bool accumulate = false;            // adds to c; no bias then
};

class Gemm {
 public:
  explicit Gemm(const GemmShape& shape);

  const GemmShape& shape() const { return shape_; }
  int64_t panels() const { return row_panels_ * column_panels_; }
  struct Panel {
    int64_t row, rows, column, columns;
  };
  Panel panel(int64_t index) const;

  // Called for each panel when it is done, on its thread, while it is in cache.
  using Epilogue = std::function<void(const Panel&)>;

  // Bytes of 64-byte aligned workspace for run() with a pool of so many threads.
  size_t workspace(int threads) const;
  void run(const float* a, const float* b, float* c, const float* bias, void* workspace, ThreadPool& pool,
           const Epilogue& epilogue = {}) const;

  // For a b that is multiplied many times: pack() it once into packed_bytes(), then run_packed() with a
  // workspace of packed_workspace(). A Gemm with another m and the same n, k, form of b may read it.
  size_t packed_bytes() const;
  void pack(const float* b, void* packed, ThreadPool& pool) const;
  size_t packed_workspace(int threads) const;
  void run_packed(const float* a, const void* packed_b, float* c, const float* bias, void* workspace,
                  ThreadPool& pool, const Epilogue& epilogue = {}) const;

 private:
  size_t packed_bytes_of(int64_t k) const;
  void pack_depth(const float* b, int64_t k, void* packed, ThreadPool& pool) const;
  void run_panels(GemmPanel whole, void* workspace, ThreadPool& pool, const Epilogue& epilogue) const;

  GemmShape shape_;
  int64_t rows_ = 1, columns_ = 1;  // of a full panel
  int64_t row_panels_ = 0, column_panels_ = 0;
};

}  // namespace floe

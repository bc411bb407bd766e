// INT8 products on the CPU: c[i, j] = (sum over l of a[i, l] b[j, l]) * a_scale[i] * b_scale[j] + bias[j], in
// f32 in that order with no fused multiply-add. The sum is an exact int32 as long as k <= kMostInt8Depth.
//
// b's bytes are packed once into strips as w + 128 (int8_tile.h); 128 times the sum of a's row is taken off
// before the sum becomes a float. Taking it from the row, where a weight's kernel often keeps it by column,
// makes it a matter of one row alone: nothing beside the weights has to be cut when columns are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

namespace floe {

class ThreadPool;

class GemmInt8 {
 public:
  GemmInt8(int64_t m, int64_t n, int64_t k);

  struct Panel {
    int64_t row, rows, column, columns;
  };
  int64_t panels() const { return row_panels_ * column_panels_; }
  // Called for each panel when it is done, on its thread, while it is in cache.
  using Epilogue = std::function<void(const Panel&)>;

  // Of b i8 [n, k], into packed_bytes() that are 64-byte aligned. Any m may read it.
  size_t packed_bytes() const;
  void pack(const int8_t* b, void* packed, ThreadPool& pool) const;

  struct Operands {
    const int8_t* a = nullptr;       // [m, k]
    const void* packed_b = nullptr;  // or
    const int8_t* b = nullptr;       // [n, k], packed at every run
    const float* a_scale = nullptr;  // [m], or one number
    const float* b_scale = nullptr;  // [n], or one number
    bool a_scale_each = true, b_scale_each = true;
    const float* bias = nullptr;  // [n], or none
    float* c = nullptr;           // [m, n]
  };
  // Bytes of 64-byte aligned workspace for run() with a pool of so many threads.
  size_t workspace(int threads, bool packed_b) const;
  void run(const Operands& at, void* workspace, ThreadPool& pool, const Epilogue& epilogue = {}) const;

 private:
  size_t scratch() const;  // of a thread
  Panel panel(int64_t index) const;
  void run_panel(const Operands& at, const Panel& p, void* scratch) const;

  int64_t m_, n_, k_, groups_;
  int64_t rows_ = 1, columns_ = 1;  // of a full panel
  int64_t row_panels_ = 0, column_panels_ = 0;
};

}  // namespace floe

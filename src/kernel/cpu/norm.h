// Row ranges for the norm kernels, and how dgamma and dbeta are summed: rows in blocks whose number depends
// on how many rows there are and on nothing else, each block into its own partial sum, these one after the
// other.
#pragma once
#include <algorithm>
#include <cstdint>

#include "device/cpu/thread_pool.h"

namespace floe {

struct NormRows {
  const float *x, *gamma, *beta;
  float* y;
  int64_t begin, end, n;
  float eps;
};

struct NormGradRows {
  const float *x, *gamma, *dy;
  float *dx, *dgamma, *dbeta;
  int64_t begin, end, n;
  float eps;
};

struct RowBlocks {
  int64_t rows, block, blocks;
  // At least 32 rows, so that a partial sum is written seldom; at most 64 blocks, so that they take little
  // memory.
  explicit RowBlocks(int64_t count)
      : rows(count), block(std::max<int64_t>(32, (count + 63) / 64)), blocks((count + block - 1) / block) {}
};

// partial [blocks][n] -> sum [n], block by block.
inline void sum_blocks(ThreadPool& pool, const float* partial, int64_t blocks, int64_t n, float* sum) {
  pool.run_ranges(n, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) sum[i] = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t i = begin; i < end; ++i) sum[i] += partial[block * n + i];
    }
  });
}

}  // namespace floe

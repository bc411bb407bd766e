// Sums and maxima of f32 in fixed orders: sixteen running values by index modulo 16, folded in halves; long
// rows in blocks of kSumBlock whose results are taken in order. The same bits on every target.
#pragma once
#include <cstdint>

namespace floe {

constexpr int64_t kSumBlock = 4096;

// Of one block, n <= kSumBlock by convention of the callers. 0 and -inf for none. NaN in gives NaN out.
float block_sum(const float* x, int64_t n);
float block_max(const float* x, int64_t n);
float block_sum_squares(const float* x, int64_t n);

// to[i] = to[i] + x[i], to[i] = max(to[i], x[i])
void add_to(float* to, const float* x, int64_t n);
void max_to(float* to, const float* x, int64_t n);

}  // namespace floe

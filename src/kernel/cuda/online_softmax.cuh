// The arithmetic of a softmax over keys that comes in blocks, for kernels that compute in f32 and promise
// each other's bits: attention and paged attention.
//
// A score is one chain of fused multiply-adds over d = 0..D-1. Keys come in blocks of kBlockKeys counted from
// key 0. Each block has a maximum, probabilities exp(score - maximum), their sum as a tree (keys k, k+32;
// then lanes 16, 8, 4, 2 and 1 apart) and outputs as one chain over its keys; blocks are folded in order. So
// bits do not depend on how many queries, warps or blocks of a cache take part. (Milakov, Gimelshein: "Online
// normalizer calculation for softmax", 2018.)
#pragma once
#include <cuda_runtime.h>

#include <cmath>

namespace floe {

constexpr int kBlockKeys = 64;

// exp(score - block_shift(top)): a row with only -inf scores has probabilities 0, not NaN.
__device__ inline float block_shift(float top) { return top == -INFINITY ? 0.0f : top; }

// What a row knows of the keys so far: their maximum and the sum of exp(score - maximum).
struct RowState {
  float top = -INFINITY;
  float sum = 0;
};

// Outputs become before * earlier + here * block's.
struct FoldFactors {
  float before, here;
};
__device__ inline FoldFactors fold(RowState* row, const RowState& block) {
  const float top = fmaxf(row->top, block.top);
  const float shift = block_shift(top);
  const FoldFactors f{expf(row->top - shift), expf(block.top - shift)};
  row->sum = fmaf(row->sum, f.before, block.sum * f.here);
  row->top = top;
  return f;
}
__device__ inline float fold_output(const FoldFactors& f, float row, float block) {
  return fmaf(row, f.before, block * f.here);
}

// What an output is multiplied with at the end; 0 for a row without keys or with only -inf scores.
__device__ inline float last_factor(const RowState& row, float factor) {
  return row.sum == 0 ? 0.0f : factor / row.sum;
}
__device__ inline float log_sum_exp(const RowState& row) {
  return row.sum == 0 ? -INFINITY : row.top + logf(row.sum);
}

}  // namespace floe

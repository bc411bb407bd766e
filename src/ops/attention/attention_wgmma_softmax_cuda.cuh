// The online softmax over a warpgroup's accumulators (wgmma.cuh): a thread has two rows, shared with the
// three other lanes of its quad, and of each 8 columns two neighbouring ones.
#pragma once
#include "kernel/cuda/warp_mma.cuh"

namespace floe {

constexpr float kLog2OfE = 1.4426950408889634f;
constexpr float kNaturalLogOf2 = 0.6931471805599453f;

template <int kN>
struct RowSoftmax {
  float c;  // scale log2(e), above 0
  float top[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this lane's columns, until finish()
  float factor[2];        // what earlier outputs are multiplied with; after finish(): the last ones

  // Hides the columns from `seen` on, counted from this lane's first.
  __device__ void hide(float (&x)[kN / 2], int seen0, int seen1) const {
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
      const int column = i / 4 * 8 + i % 2;
      if (column >= (i / 2 % 2 == 0 ? seen0 : seen1)) x[i] = -INFINITY;
    }
  }

  // Scores become probabilities. NaN stays NaN: fmaxf passes it over, the power does not.
  __device__ void take(float (&x)[kN / 2]) {
    float shift[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float here = x[2 * r];
#pragma unroll
      for (int i = 0; i < kN / 2; i += 4) here = fmaxf(fmaxf(here, x[i + 2 * r]), x[i + 2 * r + 1]);
      here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 1));
      here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 2));
      const float now = fmaxf(top[r], here);
      shift[r] = now == -INFINITY ? 0.0f : now * c;
      // Exactly 1 where the maximum is the old one: both shifts were rounded alike.
      factor[r] = exp2_fast(top[r] * c - shift[r]);
      top[r] = now;
      sum[r] *= factor[r];
    }
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
      x[i] = exp2_fast(__fmaf_rn(x[i], c, -shift[i / 2 % 2]));
      sum[i / 2 % 2] += x[i];
    }
  }

  __device__ void finish() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
      factor[r] = 1 / sum[r];
    }
  }
  // After finish(): an output of row r; 0 where the row saw nothing.
  __device__ float scaled(float out, int r) const { return sum[r] == 0 ? 0.0f : out * factor[r]; }
  __device__ float log_sum_exp(int r) const {
    return sum[r] == 0 ? -INFINITY : top[r] * c * kNaturalLogOf2 + logf(sum[r]);
  }
};

}  // namespace floe

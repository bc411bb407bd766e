// The CPU's kernels of layer_norm and rms_norm, forward and backward: one code, since rms_norm is layer_norm
// without the mean and beta.
#pragma once
#include <cstdint>
#include <string>

#include "kernel/kernel.h"

namespace floe {

enum class NormMean {
  subtracted,  // layer_norm: (x, gamma, beta) -> y and (x, gamma, dy) -> dx, dgamma, dbeta
  kept,        // rms_norm: (x, gamma) -> y and (x, gamma, dy) -> dx, dgamma
};

// Adds the f32 kernels of `op` and of `op`_grad.
void add_norm_kernels(KernelTable& table, const std::string& op, NormMean mean);

// What norm.cc compiles once a target.
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

}  // namespace floe

// A row's exponentials in place. Sums run in the fixed order of kernel/cpu/sums.h.
#pragma once
#include <cstdint>

namespace floe {

struct RowExp {
  float most = 0;     // -inf for no element; NaN when there is one
  float sum_exp = 0;  // of exp(x - most)
  double sum = 0;     // of x; not finite when an element is not
};
// x[i] = exp(x[i] - most)
RowExp exp_row(float* x, int64_t n);

// x[i] = x[i] * factor + offset
void scale_row(float* x, int64_t n, float factor, float offset);

}  // namespace floe

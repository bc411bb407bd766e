// What a scale's shape says, as the kernels see it.
#pragma once
#include "tensor/tensor.h"

namespace floe {

enum class ScalePer { tensor, row, column };

// Of a scale for x; both as quantize's type rule lets them pass. For x of rank 1, [1] is the row's.
inline ScalePer scale_per(int x_rank, const View& scale) {
  if (scale.rank == 0) return ScalePer::tensor;
  return scale.rank == x_rank && scale.dim(-1) == 1 ? ScalePer::row : ScalePer::column;
}

}  // namespace floe

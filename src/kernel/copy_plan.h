// A copy of elements between two layouts of the same dims: transposes, slices, parts of a concatenation,
// broadcasts (source stride 0).
#pragma once
#include <array>
#include <cstdint>

#include "tensor/tensor.h"

namespace floe {

struct CopyPlan {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims{};
  std::array<int64_t, kMaxRank> from{}, to{};  // strides in elements
  size_t element = 4;                          // bytes
};

// Drops dims of 1 and joins dims that are one run on both sides. Bind once, run often.
CopyPlan simplify(CopyPlan plan);

}  // namespace floe

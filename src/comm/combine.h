// Sums and maxima over ranks, a range of elements at a time, in the one fixed order (communicator.h).
#pragma once
#include <cstdint>
#include <span>

#include "comm/communicator.h"

namespace floe {

// out[i - begin] = over ranks r of ins[r][i], i in begin..end-1.
void combine(CollectiveOp op, DType dtype, std::span<const void* const> ins, int64_t begin, int64_t end,
             void* out);

}  // namespace floe

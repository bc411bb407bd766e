// top_k(x [..., N]; k) -> values [..., k], indices i32 [..., k]: the k largest of each row, largest first; of
// equal ones the lower index first. NaN is never chosen over a number. Where a row has fewer than k numbers
// the rest is -inf with index -1.
#pragma once
#include <cstdint>

#include "ir/builder.h"

namespace floe {

struct TopK {
  Value values;
  Value indices;
};
TopK top_k(Builder& b, Value x, int64_t k);

}  // namespace floe

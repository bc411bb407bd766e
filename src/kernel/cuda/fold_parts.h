// The second half of a product whose k is cut: its parts added in order, and in the same launch the slices of
// column sums.
#pragma once
#include <cstdint>

namespace floe {

struct FoldParts {
  const float* parts;  // [count, elements], aligned to 16 bytes
  int64_t count, elements;
  float* to;  // [elements], aligned to 16 bytes

  const float* sum_slices = nullptr;  // [sum_count, columns]
  int64_t sum_count = 0, columns = 0;
  float* sums = nullptr;  // [columns]

  void run(void* stream) const;
};

}  // namespace floe

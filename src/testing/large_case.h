// A kernel over more elements than 31 bits count, against the same rows in a run of a small number of them.
// What an index that is cut to 32 bits would read or write is another row, and rows here differ.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "testing/op_case.h"

namespace floe {

struct LargeCase {
  OpCase one;                         // the small run; its ulps count here: 0 for the same bits
  int64_t times = 1;                  // how often the rows (dim 0) of inputs are repeated
  uint32_t repeated = ~0u;            // bit i: those of input i; else it is given as it is
  std::map<size_t, Tensor> instead;   // inputs that the large run has in their place
  std::vector<size_t> results = {0};  // compared; not those that name rows by number
};

// Row r of each result must be row r % (rows of the small run) of the small one's, for the rows around every
// power of two where an index could be cut, the ends and some at random. Skips the test, saying so, where the
// device has too little memory. For a GPU.
void check_large(const LargeCase& c);

}  // namespace floe

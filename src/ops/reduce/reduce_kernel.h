// Which dims a reduction keeps, as the kernels see them: neighbours that are both reduced or both kept
// joined, dims of 1 dropped.
#pragma once
#include <vector>

#include "tensor/tensor.h"

namespace floe {

struct Joined {
  std::vector<int64_t> dims;
  std::vector<bool> reduced;
};

inline Joined join_dims(const View& x, const std::vector<int64_t>& axes) {
  std::vector<bool> reduced(static_cast<size_t>(x.rank), false);
  for (const int64_t axis : axes) reduced[static_cast<size_t>(axis < 0 ? axis + x.rank : axis)] = true;
  Joined out;
  for (int i = 0; i < x.rank; ++i) {
    if (x.dims[i] == 1) continue;
    if (!out.dims.empty() && out.reduced.back() == reduced[static_cast<size_t>(i)]) {
      out.dims.back() *= x.dims[i];
    } else {
      out.dims.push_back(x.dims[i]);
      out.reduced.push_back(reduced[static_cast<size_t>(i)]);
    }
  }
  return out;
}

}  // namespace floe

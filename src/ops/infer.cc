#include "ops/infer.h"

#include <algorithm>

namespace floe {

bool is_one(const Dim& dim) { return dim.is_constant() && dim.constant() == 1; }

Dims broadcast_dims(const InferArgs& args, const std::vector<Type>& types) {
  int rank = 0;
  for (const Type& type : types) rank = std::max(rank, type.rank());
  Dims dims(static_cast<size_t>(rank), Dim(1));
  for (const Type& type : types) {
    for (int i = 0; i < type.rank(); ++i) {
      Dim& into = dims[static_cast<size_t>(rank - type.rank() + i)];
      const Dim& from = type.dim(i);
      if (is_one(from) || into == from) continue;
      if (is_one(into)) {
        into = from;
      } else if (!args.equal(into, from)) {
        std::string all;
        for (const Type& each : types) all += (all.empty() ? "" : " and ") + text_of(each);
        args.fail("shapes do not broadcast: {}", all);
      }
    }
  }
  return dims;
}

int normal_axis(const InferArgs& args, int64_t axis, int rank) {
  const int64_t at = axis < 0 ? axis + rank : axis;
  if (at < 0 || at >= rank) args.fail("axis {} is outside rank {}", axis, rank);
  return static_cast<int>(at);
}

}  // namespace floe

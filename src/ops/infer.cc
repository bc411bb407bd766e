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

void check_norm(const InferArgs& args) {
  args.require_float(0);
  args.require_float(1);
  const Type& x = args.inputs[0];
  const Type& gamma = args.inputs[1];
  if (x.rank() < 1 || !x.dim(-1).is_constant() || x.dim(-1).constant() < 1) {
    args.fail("the last dim of x must be a number above 0, got {}", text_of(x));
  }
  if (gamma.dims != Dims{x.dim(-1)})
    args.fail("gamma must be [{}], got {}", x.dim(-1).text(), text_of(gamma));
  if (!(args.attrs.number("eps") >= 0)) args.fail("eps must be 0 or above, got {}", args.attrs.number("eps"));
}

Placement whole_rows(const ShardArgs& args) {
  const Placement at = args.placements[0];
  const bool cut = at.kind == Placement::Kind::shard && at.dim == args.inputs[0].rank() - 1;
  return at.kind == Placement::Kind::partial || cut ? Placement::replicate() : at;
}

}  // namespace floe

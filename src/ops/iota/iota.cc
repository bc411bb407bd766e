#include "ops/iota/iota.h"

#include "ir/evaluate.h"
#include "ops/infer.h"

namespace floe {

Value iota(Builder& b, Dims dims, int64_t axis, Dim start) {
  return b.add("iota", {}, {{"dims", std::move(dims)}, {"axis", axis}, {"start", Dims{std::move(start)}}});
}

void define_iota(OpTable& table) {
  OpDef op;
  op.name = "iota";
  op.summary = "i32 of attribute dims, counting along attribute axis from attribute start";
  op.min_inputs = op.max_inputs = 0;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    Type result{DType::i32, args.attrs.dims("dims")};
    normal_axis(args, args.attrs.integer("axis"), result.rank());
    args.require(args.attrs.dims("start").size() == 1, "start must be one dim");
    return {result};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    RefTensor out(DType::i32, args.shapes[0]);
    const int64_t attr_axis = args.attrs.integer("axis");
    const auto axis =
        static_cast<size_t>(attr_axis < 0 ? attr_axis + static_cast<int64_t>(out.shape.size()) : attr_axis);
    int64_t inner = 1;
    for (size_t i = axis + 1; i < out.shape.size(); ++i) inner *= out.shape[i];
    for (int64_t at = 0; at < count(out.shape); ++at) {
      out.i[static_cast<size_t>(at)] =
          static_cast<int32_t>(args.attrs.integers("start")[0] + at / inner % out.shape[axis]);
    }
    return {out};
  };
  op.differentiable = false;
  table.add(std::move(op));
}

}  // namespace floe

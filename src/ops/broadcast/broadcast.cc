#include "ops/broadcast/broadcast.h"

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"

namespace floe {

Value broadcast(Builder& b, Value x, Dims dims) {
  if (b.type(x).dims == dims) return x;
  return b.add("broadcast", {x}, {{"dims", std::move(dims)}});
}

void define_broadcast(OpTable& table) {
  OpDef op;
  op.name = "broadcast";
  op.summary = "x repeated along new dims and dims of 1, to attribute dims";
  op.min_inputs = op.max_inputs = 1;
  op.pointwise = true;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    const Type& x = args.inputs[0];
    Type result{x.dtype, args.attrs.dims("dims")};
    const int extra = result.rank() - x.rank();
    if (extra < 0) args.fail("{} has more dims than {}", text_of(x), text_of(result.dims));
    for (int i = 0; i < x.rank(); ++i) {
      if (!is_one(x.dim(i)) && !args.equal(x.dim(i), result.dim(i + extra))) {
        args.fail("{} does not broadcast to {}", text_of(x), text_of(result.dims));
      }
    }
    return {result};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor& x = args.inputs[0];
    RefTensor out(x.dtype, args.shapes[0]);
    const size_t extra = out.shape.size() - x.shape.size();
    for (int64_t at = 0; at < count(out.shape); ++at) {
      int64_t rest = at;
      int64_t index = 0;
      int64_t stride = 1;
      for (size_t i = out.shape.size(); i-- > extra;) {
        const int64_t dim = x.shape[i - extra];
        if (dim != 1) index += rest % out.shape[i] * stride;
        rest /= out.shape[i];
        stride *= dim;
      }
      if (is_float(x.dtype)) {
        out.f[static_cast<size_t>(at)] = x.f[static_cast<size_t>(index)];
      } else {
        out.i[static_cast<size_t>(at)] = x.i[static_cast<size_t>(index)];
      }
    }
    return {out};
  };
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    return {sum_to(b, args.d_outputs[0], b.type(args.inputs[0]))};
  };
  table.add(std::move(op));
}

}  // namespace floe

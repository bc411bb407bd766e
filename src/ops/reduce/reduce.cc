// Reductions over axes. The sum over nothing is 0, the maximum over nothing -inf; NaN wins a maximum.
#include "ops/reduce/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

std::vector<bool> reduced_axes(const std::vector<int64_t>& axes, int rank) {
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  for (const int64_t axis : axes) reduced[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = true;
  return reduced;
}

std::vector<Type> infer(const InferArgs& args) {
  const Type& x = args.inputs[0];
  for (const int64_t axis : args.attrs.integers("axes")) normal_axis(args, axis, x.rank());
  if (x.dtype == DType::boolean) args.fail("operand must not be bool");
  const std::vector<bool> reduced = reduced_axes(args.attrs.integers("axes"), x.rank());
  Type result{x.dtype, {}};
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduced[static_cast<size_t>(i)]) {
      result.dims.push_back(x.dim(i));
    } else if (args.attrs.flag("keep", false)) {
      result.dims.emplace_back(1);
    }
  }
  return {result};
}

std::vector<RefTensor> evaluate_reduce(const EvalArgs& args) {
  const bool is_sum = args.node.op->name == "reduce_sum";
  const RefTensor& x = args.inputs[0];
  const std::vector<bool> reduced =
      reduced_axes(args.attrs.integers("axes"), static_cast<int>(x.shape.size()));
  RefTensor out(x.dtype, args.shapes[0]);
  if (!is_sum) {
    std::fill(out.f.begin(), out.f.end(), -std::numeric_limits<double>::infinity());
    std::fill(out.i.begin(), out.i.end(), std::numeric_limits<int64_t>::min());
  }
  for (int64_t at = 0; at < count(x.shape); ++at) {
    int64_t rest = at;
    int64_t index = 0;
    int64_t stride = 1;
    for (size_t i = x.shape.size(); i-- > 0;) {
      const int64_t coordinate = rest % x.shape[i];
      rest /= x.shape[i];
      if (reduced[i]) continue;
      index += coordinate * stride;
      stride *= x.shape[i];
    }
    const auto to = static_cast<size_t>(index);
    const auto from = static_cast<size_t>(at);
    if (is_float(x.dtype)) {
      if (is_sum) {
        out.f[to] += x.f[from];
      } else if (!(out.f[to] >=
                   x.f[from])) {  // true for NaN in x; a NaN in out stays, since nothing is >= it
        if (!std::isnan(out.f[to])) out.f[to] = x.f[from];
      }
    } else {
      out.i[to] =
          is_sum ? static_cast<int64_t>(static_cast<uint64_t>(out.i[to]) + static_cast<uint64_t>(x.i[from]))
                 : std::max(out.i[to], x.i[from]);
      if (is_sum && x.dtype == DType::i32) out.i[to] = static_cast<int32_t>(out.i[to]);
    }
  }
  return {out};
}

Dims kept_dims(const Type& x, const std::vector<int64_t>& axes) {
  const std::vector<bool> reduced = reduced_axes(axes, x.rank());
  Dims dims = x.dims;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (reduced[i]) dims[i] = Dim(1);
  }
  return dims;
}

Values gradient(Builder& b, const GradientArgs& args) {
  const Type x = b.type(args.inputs[0]);
  const Dims kept = kept_dims(x, args.node.attrs.integers("axes"));
  const auto spread = [&](Value v) { return broadcast(b, reshape(b, v, kept), x.dims); };
  const Value dy = spread(args.d_outputs[0]);
  if (args.node.op->name == "reduce_sum") return {dy};
  // Every element equal to the maximum takes the gradient; ties are as rare as in the frameworks we compare
  // with.
  const Value is_max = elementwise(b, "eq", {args.inputs[0], spread(args.outputs[0])});
  return {select(b, is_max, dy, like(b, dy, 0))};
}

}  // namespace

Value reduce_sum(Builder& b, Value x, std::vector<int64_t> axes, bool keep) {
  return b.add("reduce_sum", {x}, {{"axes", std::move(axes)}, {"keep", keep}});
}
Value reduce_max(Builder& b, Value x, std::vector<int64_t> axes, bool keep) {
  return b.add("reduce_max", {x}, {{"axes", std::move(axes)}, {"keep", keep}});
}
Value reduce_mean(Builder& b, Value x, int64_t axis, bool keep) {
  const Dim& n = b.type(x).dim(static_cast<int>(axis));
  FLOE_CHECK(n.is_constant(), "mean over a symbolic dim {}", n.text());
  return reduce_sum(b, scale(b, x, 1.0 / static_cast<double>(n.constant())), {axis}, keep);
}

void define_reduce(OpTable& table) {
  for (const char* name : {"reduce_sum", "reduce_max"}) {
    OpDef op;
    op.name = name;
    op.summary = "over attribute axes of x; keep = true leaves 1s";
    op.min_inputs = op.max_inputs = 1;
    op.infer = infer;
    op.evaluate = evaluate_reduce;
    op.gradient = gradient;
    table.add(std::move(op));
  }
}

}  // namespace floe

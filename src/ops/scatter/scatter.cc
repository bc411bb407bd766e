#include "ops/scatter/scatter.h"

#include <algorithm>
#include <array>

#include "ir/evaluate.h"
#include "ops/gather/gather.h"
#include "tensor/scalar.h"

namespace floe {
namespace {

constexpr std::array kReductions = {"none", "add", "mul", "max", "min"};

std::vector<Type> infer(const InferArgs& args) {
  const Type &x = args.inputs[0], &indices = args.inputs[1], &updates = args.inputs[2];
  const std::string& reduction = args.attrs.text("reduction");
  if (std::ranges::find(kReductions, reduction) == kReductions.end())
    args.fail("reduction '{}' is unknown; none, add, mul, max and min are", reduction);
  if ((indices.dtype != DType::i32 && indices.dtype != DType::i64) || indices.rank() != 1)
    args.fail("indices must be i32 or i64 of rank 1, got {}", text_of(indices));
  if (reduction != "none" && x.dtype == DType::boolean) args.fail("bools have no reduction '{}'", reduction);
  bool fits = x.rank() > 0 && updates.rank() == x.rank() && updates.dtype == x.dtype &&
              args.equal(updates.dim(0), indices.dim(0));
  for (int i = 1; fits && i < x.rank(); ++i) fits = args.equal(updates.dim(i), x.dim(i));
  if (!fits)
    args.fail("updates {} do not fit {} with {} indices", text_of(updates), text_of(x),
              indices.dim(0).text());
  return {x};
}

std::vector<RefTensor> evaluate_scatter(const EvalArgs& args) {
  RefTensor out = args.inputs[0];
  const RefTensor &indices = args.inputs[1], &updates = args.inputs[2];
  const std::string& reduction = args.attrs.text("reduction");
  ScalarInstr instr{ScalarOp::add, out.dtype};
  if (reduction != "none") find_scalar_op(reduction, &instr.op);
  const int64_t n = out.shape[0];
  int64_t d = 1;
  for (size_t i = 1; i < out.shape.size(); ++i) d *= out.shape[i];
  for (int64_t k = 0; k < indices.size(); ++k) {
    const int64_t index = indices.i[static_cast<size_t>(k)];
    if (index < 0 || index >= n)
      fail_user("[scatter] index {} at position {} is outside 0..{}", index, k, n - 1);
    for (int64_t j = 0; j < d; ++j) {
      const auto to = static_cast<size_t>(index * d + j), from = static_cast<size_t>(k * d + j);
      const bool floats = is_float(out.dtype);
      const ScalarValue a = floats ? ScalarValue{out.f[to], 0} : ScalarValue{0, out.i[to]};
      const ScalarValue b = floats ? ScalarValue{updates.f[from], 0} : ScalarValue{0, updates.i[from]};
      const ScalarValue value = reduction == "none" ? b : apply(instr, a, b, {}, out.dtype);
      if (floats) {
        out.f[to] = value.f;
      } else {
        out.i[to] = value.i;
      }
    }
  }
  return {out};
}

// Of sums alone:  dx = dy,  dupdates = rows of dy.
Values gradient(Builder& b, const GradientArgs& args) {
  if (args.node.attrs.text("reduction") != "add")
    fail_user("[scatter] reduction '{}' has no gradient; add has", args.node.attrs.text("reduction"));
  return {args.d_outputs[0], {}, gather(b, args.d_outputs[0], args.inputs[1], 0)};
}

}  // namespace

Value scatter(Builder& b, Value x, Value indices, Value updates, const std::string& reduction) {
  return b.add("scatter", {x, indices, updates}, {{"reduction", reduction}});
}

void define_scatter(OpTable& table) {
  OpDef op;
  op.name = "scatter";
  op.summary = "rows of x [n, d] at indices [m] joined with updates [m, d] by attribute reduction";
  op.min_inputs = op.max_inputs = 3;
  op.infer = infer;
  op.evaluate = evaluate_scatter;
  op.gradient = gradient;
  table.add(std::move(op));
}

}  // namespace floe

#include "ops/row_linear/row_linear.h"

#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/matmul/matmul.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/row_linear/row_linear_kernel.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const RowLinearOperands at(args.attrs);
  args.require(at.norm.empty() || at.norm == "layer_norm" || at.norm == "rms_norm",
               "norm must be layer_norm or rms_norm");
  if (static_cast<int>(args.inputs.size()) != at.count)
    args.fail("the attributes speak of {} operands, there are {}", at.count, args.inputs.size());
  const auto input = [&](int k) -> const Type& { return args.inputs[static_cast<size_t>(k)]; };
  const Type &x = input(0), &w = input(1);
  args.require_float(0);
  args.require_rank(1, 2);
  if (x.rank() < 2 || w.dtype != x.dtype || !args.equal(x.dim(-1), w.dim(1)))
    args.fail("x must be [..., in] and w [out, in] of one type, got {} and {}", text_of(x), text_of(w));
  Dims dims = x.dims;
  dims.back() = w.dim(0);
  const auto vector_of = [&](int k, const char* name, const Dim& length) {
    if (k < 0) return;
    args.require_float(k);
    if (input(k).rank() != 1 || !args.equal(input(k).dim(0), length))
      args.fail("{} must be [{}], got {}", name, length.text(), text_of(input(k)));
  };
  vector_of(at.gamma, "gamma", x.dim(-1));
  vector_of(at.beta, "beta", x.dim(-1));
  vector_of(at.bias, "bias", w.dim(0));
  if (at.residual >= 0) {
    const Type& residual = input(at.residual);
    args.require_float(at.residual);
    bool same = residual.rank() == x.rank();
    for (int k = 0; same && k < x.rank(); ++k)
      same = args.equal(residual.dim(k), dims[static_cast<size_t>(k)]);
    if (!same) args.fail("residual must have the result's dims, got {}", text_of(residual));
  }
  const DType out = args.attrs.dtype("out");
  if (!is_float(out)) args.fail("out must be a floating type, is {}", name_of(out));
  std::vector<Type> results{{out, dims}};
  if (args.attrs.flag("keep_norm", false)) {
    args.require(!at.norm.empty(), "keep_norm needs a norm");
    results.push_back(x);
  }
  return results;
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const RowLinearOperands at(node.attrs);
  const auto input = [&](int k) { return inputs[static_cast<size_t>(k)]; };
  const DType wide = b.type(inputs[0]).dtype == DType::f64 ? DType::f64 : DType::f32;
  Value x = input(0);
  if (at.norm == "layer_norm")
    x = layer_norm(b, x, input(at.gamma), input(at.beta), node.attrs.number("eps"));
  if (at.norm == "rms_norm") x = rms_norm(b, x, input(at.gamma), node.attrs.number("eps"));
  Values operands{x, input(1)};
  if (at.bias >= 0) operands.push_back(cast(b, input(at.bias), wide));
  Attrs attrs{{"transpose_b", true}, {"activation", node.attrs.text("activation", "")}};
  if (b.type(x).dtype != wide) attrs.set("out", wide);
  Value y = b.add("matmul", operands, attrs);
  if (at.residual >= 0) y = add(b, y, cast(b, input(at.residual), wide));
  Values results{cast(b, y, node.types[0].dtype)};
  if (node.result_count() > 1) results.push_back(x);
  return results;
}

}  // namespace

RowLinear row_linear(Builder& b, const RowLinearArgs& args) {
  Values inputs{args.x, args.w};
  Attrs attrs{{"out", args.out}};
  if (!args.norm.empty()) {
    attrs.set("norm", args.norm);
    attrs.set("eps", args.eps);
    inputs.push_back(args.gamma);
    if (args.beta) inputs.push_back(args.beta);
    if (args.keep_norm) attrs.set("keep_norm", true);
  }
  if (args.bias) {
    attrs.set("bias", true);
    inputs.push_back(args.bias);
  }
  if (args.residual) {
    attrs.set("residual", true);
    inputs.push_back(args.residual);
  }
  if (!args.activation.empty()) attrs.set("activation", args.activation);
  const Values results = b.add_all("row_linear", std::move(inputs), std::move(attrs));
  return {results[0], results.size() > 1 ? results[1] : Value{}};
}

void define_row_linear(OpTable& table) {
  OpDef op;
  op.name = "row_linear";
  op.summary =
      "(x [..., in], w [out, in], gamma?, beta?, bias?, residual?) -> act(norm(x) w^T + bias) + residual";
  op.min_inputs = 2;
  op.max_inputs = 6;
  op.infer = infer;
  op.meaning = meaning;
  table.add(std::move(op));
}

}  // namespace floe

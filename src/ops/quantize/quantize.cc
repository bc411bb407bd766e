#include "ops/quantize/quantize.h"

#include <algorithm>
#include <cmath>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

ScalePer per_of(const Attrs& attrs) {
  const std::string& per = attrs.text("per");
  return per == "tensor" ? ScalePer::tensor : per == "row" ? ScalePer::row : ScalePer::column;
}

Dims scale_dims(const Type& x, ScalePer per) {
  if (per == ScalePer::tensor) return {};
  if (per == ScalePer::column) return {x.dim(-1)};
  Dims dims = x.dims;
  dims.back() = Dim(1);
  return dims;
}

void check_rows(const InferArgs& args) {
  if (args.inputs[0].rank() < 1) args.fail("needs a last dim, got {}", text_of(args.inputs[0]));
}

void check_scale(const InferArgs& args) {
  const Type &x = args.inputs[0], &scale = args.inputs[1];
  check_rows(args);
  bool fits = scale.dtype == DType::f32;
  if (fits && scale.rank() == x.rank() && is_one(scale.dim(-1))) {
    for (int i = 0; fits && i + 1 < x.rank(); ++i) fits = args.equal(x.dim(i), scale.dim(i));
  } else if (fits && scale.rank() > 0) {
    fits = scale.rank() == 1 && args.equal(scale.dim(0), x.dim(-1));
  }
  if (!fits)
    args.fail("the scale must be f32[], f32[..., 1] with the dims of x, or f32[{}]; x is {}, the scale {}",
              x.dim(-1).text(), text_of(x), text_of(scale));
}

// The index in `scale` of x's element `at`.
size_t scale_index(const RefTensor& x, const RefTensor& scale, int64_t at) {
  if (scale.shape.empty()) return 0;
  const int64_t n = x.shape.back();
  const bool row = scale.shape.size() == x.shape.size() && scale.shape.back() == 1;
  return static_cast<size_t>(row ? at / n : at % n);
}

OpDef absmax_def() {
  OpDef op;
  op.name = "absmax";
  op.summary = "largest |x| of x [..., n], per tensor [], row [..., 1] or column [n], in f32";
  op.min_inputs = op.max_inputs = 1;
  op.differentiable = false;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    check_rows(args);
    const std::string& per = args.attrs.text("per");
    if (per != "tensor" && per != "row" && per != "column")
      args.fail("per must be tensor, row or column, is '{}'", per);
    return {{DType::f32, scale_dims(args.inputs[0], per_of(args.attrs))}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor& x = args.inputs[0];
    RefTensor out(DType::f32, args.shapes[0]);
    for (int64_t at = 0; at < x.size(); ++at) {
      double& most = out.f[scale_index(x, out, at)];
      const double value = std::fabs(x.f[static_cast<size_t>(at)]);
      if (!(value <= most) && !std::isnan(most)) most = value;
    }
    return {out};
  };
  op.meaning = [](Builder& b, const Node& node, std::span<const Value> inputs) -> Values {
    const Type x = b.type(inputs[0]);
    const ScalePer per = per_of(node.attrs);
    std::vector<int64_t> axes;
    for (int i = 0; i < x.rank(); ++i) {
      if (per == ScalePer::tensor || (per == ScalePer::row) == (i == x.rank() - 1)) axes.push_back(i);
    }
    const Value sizes = elementwise(b, "abs", {cast(b, inputs[0], DType::f32)});
    const Value most = axes.empty() ? sizes : reduce_max(b, sizes, axes, per == ScalePer::row);
    return {elementwise(b, "max", {most, like(b, most, 0)})};  // 0 of nothing
  };
  return op;
}

OpDef quantize_def() {
  OpDef op;
  op.name = "quantize";
  op.summary = "clamp(round(x / scale)) of x [..., n] as i8 codes; scale f32 [], [..., 1] or [n]";
  op.min_inputs = op.max_inputs = 2;
  op.differentiable = false;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    check_scale(args);
    return {{DType::i8, args.inputs[0].dims}};
  };
  // In f32: codes are the kernels' bit for bit, which double would miss at a tie.
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor &x = args.inputs[0], &scale = args.inputs[1];
    RefTensor out(DType::i8, args.shapes[0]);
    for (int64_t at = 0; at < x.size(); ++at) {
      const auto each = static_cast<float>(scale.f[scale_index(x, scale, at)]);
      const int8_t code = quantized(static_cast<float>(x.f[static_cast<size_t>(at)]), reciprocal(each));
      out.i[static_cast<size_t>(at)] = int64_t{code};
    }
    return {out};
  };
  op.meaning = [](Builder& b, const Node&, std::span<const Value> inputs) -> Values {
    const Value inverse = div(b, b.scalar(1), inputs[1]);
    const Value v = mul(b, cast(b, inputs[0], DType::f32), inverse);
    const Value some = select(b, elementwise(b, "eq", {v, v}), v, b.scalar(0));  // NaN has the code 0
    const Value above = elementwise(b, "max", {some, b.scalar(-kMostCode)});
    const Value clamped = elementwise(b, "min", {above, b.scalar(kMostCode)});
    return {cast(b, elementwise(b, "round", {clamped}), DType::i8)};
  };
  return op;
}

OpDef dequantize_def() {
  OpDef op;
  op.name = "dequantize";
  op.summary = "codes i8 [..., n] times scale f32 [], [..., 1] or [n] -> f32 [..., n]";
  op.min_inputs = op.max_inputs = 2;
  op.differentiable = false;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    if (args.inputs[0].dtype != DType::i8) args.fail("codes must be i8, got {}", text_of(args.inputs[0]));
    check_scale(args);
    return {{DType::f32, args.inputs[0].dims}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor &codes = args.inputs[0], &scale = args.inputs[1];
    RefTensor out(DType::f32, args.shapes[0]);
    for (int64_t at = 0; at < codes.size(); ++at) {
      out.f[static_cast<size_t>(at)] =
          static_cast<double>(codes.i[static_cast<size_t>(at)]) * scale.f[scale_index(codes, scale, at)];
    }
    return {out};
  };
  op.meaning = [](Builder& b, const Node&, std::span<const Value> inputs) -> Values {
    return {mul(b, cast(b, inputs[0], DType::f32), inputs[1])};
  };
  return op;
}

OpDef quantize_rows_def() {
  OpDef op;
  op.name = "quantize_rows";
  op.summary = "x [..., n] -> i8 codes [..., n] and f32 scales [..., 1] from each row's largest |x|";
  op.min_inputs = op.max_inputs = 1;
  op.differentiable = false;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    check_rows(args);
    const Type& x = args.inputs[0];
    return {{DType::i8, x.dims}, {DType::f32, scale_dims(x, ScalePer::row)}};
  };
  op.meaning = [](Builder& b, const Node&, std::span<const Value> inputs) -> Values {
    const Value scale = scale_of_absmax(b, absmax(b, inputs[0], ScalePer::row));
    return {quantize(b, inputs[0], scale), scale};
  };
  return op;
}

}  // namespace

Value absmax(Builder& b, Value x, ScalePer per) {
  const char* name = per == ScalePer::tensor ? "tensor" : per == ScalePer::row ? "row" : "column";
  return b.add("absmax", {x}, {{"per", std::string(name)}});
}
Value scale_of_absmax(Builder& b, Value absmax) {
  const Value scale = div(b, absmax, b.scalar(kMostCode));
  return select(b, elementwise(b, "lt", {scale, b.scalar(kLeastScale)}), b.scalar(1), scale);
}
Value quantize(Builder& b, Value x, Value scale) { return b.add("quantize", {x, scale}); }
Value dequantize(Builder& b, Value codes, Value scale) { return b.add("dequantize", {codes, scale}); }
QuantizedRows quantize_rows(Builder& b, Value x) {
  const Values results = b.add_all("quantize_rows", {x});
  return {results[0], results[1]};
}

void define_quantize(OpTable& table) {
  table.add(absmax_def());
  table.add(quantize_def());
  table.add(dequantize_def());
  table.add(quantize_rows_def());
}

}  // namespace floe

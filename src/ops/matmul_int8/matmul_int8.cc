#include "ops/matmul_int8/matmul_int8.h"

#include "ops/infer.h"
#include "ops/matmul/matmul.h"
#include "ops/quantize/quantize.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const Type &a = args.inputs[0], &a_scale = args.inputs[1], &w = args.inputs[2], &w_scale = args.inputs[3];
  if (a.dtype != DType::i8 || w.dtype != DType::i8 || a.rank() < 2 || w.rank() != 2)
    args.fail("a must be i8[..., k] and w i8[n, k], got {} and {}", text_of(a), text_of(w));
  if (!args.equal(a.dim(-1), w.dim(1))) args.fail("inner dims differ: a {}, w {}", text_of(a), text_of(w));
  if (w.dim(1).is_constant() && w.dim(1).constant() > kMostInt8Depth)
    args.fail("a depth of {} may overflow; {} is the most", w.dim(1).constant(), kMostInt8Depth);
  bool fits = a_scale.dtype == DType::f32 && (a_scale.rank() == 0 || a_scale.rank() == a.rank());
  for (int i = 0; fits && i < a_scale.rank(); ++i)
    fits = i + 1 == a.rank() ? is_one(a_scale.dim(i)) : args.equal(a_scale.dim(i), a.dim(i));
  if (!fits)
    args.fail("a's scale must be f32[] or f32[..., 1] with a's dims: a {}, scale {}", text_of(a),
              text_of(a_scale));
  if (w_scale.dtype != DType::f32 ||
      (w_scale.rank() != 0 &&
       (w_scale.rank() != 2 || !is_one(w_scale.dim(1)) || !args.equal(w_scale.dim(0), w.dim(0)))))
    args.fail("w's scale must be f32[] or f32[{}, 1], got {}", w.dim(0).text(), text_of(w_scale));
  if (args.inputs.size() > 4) {
    const Type& bias = args.inputs[4];
    if (bias.dtype != DType::f32 || bias.rank() != 1 || !args.equal(bias.dim(0), w.dim(0)))
      args.fail("bias must be f32[{}], got {}", w.dim(0).text(), text_of(bias));
  }
  Type result{DType::f32, a.dims};
  result.dims.back() = w.dim(0);
  return {result};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  return {matmul(b, dequantize(b, inputs[0], inputs[1]), dequantize(b, inputs[2], inputs[3]),
                 {.transpose_b = true,
                  .bias = inputs.size() > 4 ? inputs[4] : Value{},
                  .activation = node.attrs.text("activation", "")})};
}

}  // namespace

Value matmul_int8(Builder& b, const MatmulInt8Args& args) {
  Values inputs{args.a, args.a_scale, args.w, args.w_scale};
  if (args.bias) inputs.push_back(args.bias);
  Attrs attrs;
  if (!args.activation.empty()) attrs.set("activation", args.activation);
  return b.add("matmul_int8", std::move(inputs), std::move(attrs));
}

void define_matmul_int8(OpTable& table) {
  OpDef op;
  op.name = "matmul_int8";
  op.summary = "(a i8 [..., k], scale, w i8 [n, k], scale, bias?) -> act(a w^T scaled + bias) f32 [..., n]";
  op.min_inputs = 4;
  op.max_inputs = 5;
  op.differentiable = false;
  op.infer = infer;
  op.meaning = meaning;
  table.add(std::move(op));
}

}  // namespace floe

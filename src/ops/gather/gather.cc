#include "ops/gather/gather.h"

#include <numeric>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/infer.h"
#include "ops/reshape/reshape.h"
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const Type &x = args.inputs[0], &indices = args.inputs[1];
  if (indices.dtype != DType::i32 && indices.dtype != DType::i64)
    args.fail("indices must be i32 or i64, got {}", text_of(indices));
  const int axis = normal_axis(args, args.attrs.integer("axis"), x.rank());
  Type result{x.dtype, {x.dims.begin(), x.dims.begin() + axis}};
  result.dims.insert(result.dims.end(), indices.dims.begin(), indices.dims.end());
  result.dims.insert(result.dims.end(), x.dims.begin() + axis + 1, x.dims.end());
  return {result};
}

std::vector<RefTensor> evaluate_gather(const EvalArgs& args) {
  const RefTensor &x = args.inputs[0], &indices = args.inputs[1];
  const int64_t given = args.attrs.integer("axis");
  const auto axis = static_cast<size_t>(given < 0 ? given + static_cast<int64_t>(x.shape.size()) : given);
  const int64_t n = x.shape[axis];
  int64_t inner = 1, outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) inner *= x.shape[i];
  RefTensor out(x.dtype, args.shapes[0]);
  if (out.size() == 0) return {out};
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t k = 0; k < indices.size(); ++k) {
      const int64_t index = indices.i[static_cast<size_t>(k)];
      if (index < 0 || index >= n)
        fail_user("[gather] index {} at position {} is outside 0..{}", index, k, n - 1);
      const int64_t from = (o * n + index) * inner, to = (o * indices.size() + k) * inner;
      if (is_float(x.dtype)) {
        std::copy_n(x.f.begin() + from, inner, out.f.begin() + to);
      } else {
        std::copy_n(x.i.begin() + from, inner, out.i.begin() + to);
      }
    }
  }
  return {out};
}

// dx: rows of dy summed by index, with the axis moved to the front and back.
Values gradient(Builder& b, const GradientArgs& args) {
  const Type x = b.type(args.inputs[0]), indices = b.type(args.inputs[1]);
  const int64_t given = args.node.attrs.integer("axis");
  const int axis = static_cast<int>(given < 0 ? given + x.rank() : given), many = indices.rank();
  std::vector<int64_t> perm(static_cast<size_t>(x.rank() - 1 + many));
  std::iota(perm.begin(), perm.end(), 0);
  std::rotate(perm.begin(), perm.begin() + axis, perm.begin() + axis + many);
  const Value front = transpose(b, args.d_outputs[0], perm);
  Dims rest = x.dims;
  rest.erase(rest.begin() + axis);
  Dims rows = indices.dims;
  rows.push_back(product(rest));
  const Value sums =
      embedding_grad(b, cast(b, args.inputs[1], DType::i32), reshape(b, front, rows), x.dim(axis));
  rest.insert(rest.begin(), x.dim(axis));
  std::vector<int64_t> back(static_cast<size_t>(x.rank()));
  std::iota(back.begin(), back.end(), 0);
  std::rotate(back.begin(), back.begin() + 1, back.begin() + axis + 1);
  return {transpose(b, reshape(b, sums, rest), back), {}};
}

}  // namespace

Value gather(Builder& b, Value x, Value indices, int64_t axis) {
  return b.add("gather", {x, indices}, {{"axis", axis}});
}

void define_gather(OpTable& table) {
  OpDef op;
  op.name = "gather";
  op.summary = "x [a, n, b] by indices [i] along attribute axis -> [a, i, b]";
  op.min_inputs = op.max_inputs = 2;
  op.infer = infer;
  op.evaluate = evaluate_gather;
  op.gradient = gradient;
  table.add(std::move(op));
}

}  // namespace floe

#include "ops/transpose/transpose.h"

#include <numeric>
#include <utility>

#include "ir/evaluate.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const Type& x = args.inputs[0];
  const std::vector<int64_t>& perm = args.attrs.integers("perm");
  if (static_cast<int>(perm.size()) != x.rank()) {
    args.fail("perm has {} entries for {}", perm.size(), text_of(x));
  }
  Type result{x.dtype, {}};
  std::vector<bool> seen(perm.size(), false);
  for (const int64_t axis : perm) {
    if (axis < 0 || axis >= x.rank() || seen[static_cast<size_t>(axis)]) {
      args.fail("perm {} is no permutation of {} dims", text_of(perm), x.rank());
    }
    seen[static_cast<size_t>(axis)] = true;
    result.dims.push_back(x.dim(static_cast<int>(axis)));
  }
  return {result};
}

std::vector<RefTensor> evaluate_transpose(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  const std::vector<int64_t>& perm = args.attrs.integers("perm");
  RefTensor out(x.dtype, args.shapes[0]);
  Shape strides(perm.size(), 1);  // of x
  for (size_t i = perm.size(); i-- > 1;) strides[i - 1] = strides[i] * x.shape[i];
  for (int64_t at = 0; at < out.size(); ++at) {
    int64_t rest = at, from = 0;
    for (size_t i = perm.size(); i-- > 0;) {
      from += rest % out.shape[i] * strides[static_cast<size_t>(perm[i])];
      rest /= out.shape[i];
    }
    if (is_float(x.dtype)) {
      out.f[static_cast<size_t>(at)] = x.f[static_cast<size_t>(from)];
    } else {
      out.i[static_cast<size_t>(at)] = x.i[static_cast<size_t>(from)];
    }
  }
  return {out};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const std::vector<int64_t>& perm = args.node.attrs.integers("perm");
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  }
  return {transpose(b, args.d_outputs[0], inverse)};
}

ShardRule shard(const ShardArgs& args) {
  Placement out = args.placements[0];
  if (out.kind == Placement::Kind::shard) {
    const std::vector<int64_t>& perm = args.node.attrs.integers("perm");
    for (size_t i = 0; i < perm.size(); ++i) {
      if (perm[i] == args.placements[0].dim) out.dim = static_cast<int>(i);
    }
  }
  return {{args.placements[0]}, {out}};
}

}  // namespace

Value transpose(Builder& b, Value x, std::vector<int64_t> perm) {
  return b.add("transpose", {x}, {{"perm", std::move(perm)}});
}

Value swap_last_two(Builder& b, Value x) {
  std::vector<int64_t> perm(static_cast<size_t>(b.type(x).rank()));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return transpose(b, x, std::move(perm));
}

void define_transpose(OpTable& table) {
  OpDef op;
  op.name = "transpose";
  op.summary = "x with its dims in the order of attribute perm";
  op.min_inputs = op.max_inputs = 1;
  op.infer = infer;
  op.evaluate = evaluate_transpose;
  op.gradient = gradient;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe

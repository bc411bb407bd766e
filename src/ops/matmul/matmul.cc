#include "ops/matmul/matmul.h"

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

struct Form {
  bool transpose_a, transpose_b;
  std::string activation;
};
Form form_of(const Attrs& attrs) {
  return {attrs.flag("transpose_a", false), attrs.flag("transpose_b", false), attrs.text("activation", "")};
}

// Of the result: the operands' unless "out" says f32.
DType result_dtype(const Attrs& attrs, DType operands) {
  return attrs.has("out") ? attrs.dtype("out") : operands;
}

const ScalarFunction* activation_row(const std::string& name) {
  const ScalarFunction* row = find_scalar_function(name);
  return row != nullptr && row->arity == 1 && row->kind == ScalarFunction::Kind::floating ? row : nullptr;
}

std::vector<Type> infer(const InferArgs& args) {
  const Type &a = args.inputs[0], &b = args.inputs[1];
  const Form form = form_of(args.attrs);
  args.require_float(0);
  if (a.dtype != b.dtype) args.fail("operands must have one type, got {} and {}", text_of(a), text_of(b));
  if (a.rank() < 2 || b.rank() < 2) {
    args.fail("operands must have rank 2 or more, got {} and {}", text_of(a), text_of(b));
  }
  if (b.rank() > 2) {
    if (a.rank() != b.rank()) args.fail("batch dims differ: lhs {}, rhs {}", text_of(a), text_of(b));
    for (int i = 0; i < a.rank() - 2; ++i) {
      if (!args.equal(a.dim(i), b.dim(i))) {
        args.fail("batch dims differ: lhs {}, rhs {}", text_of(a), text_of(b));
      }
    }
  } else if (form.transpose_a && a.rank() != 2) {
    args.fail("transpose_a against a matrix needs a matrix, got {}", text_of(a));
  }
  const Dim& k = a.dim(form.transpose_a ? -2 : -1);
  if (!args.equal(k, b.dim(form.transpose_b ? -1 : -2))) {
    args.fail("inner dims differ: lhs {}{}, rhs {}{}", text_of(a), form.transpose_a ? " transposed" : "",
              text_of(b), form.transpose_b ? " transposed" : "");
  }
  Type result{result_dtype(args.attrs, a.dtype), {a.dims.begin(), a.dims.end() - 2}};
  if (result.dtype != a.dtype && result.dtype != DType::f32) {
    args.fail("out must be f32 or the operands' type, got {} for {}", name_of(result.dtype), text_of(a));
  }
  result.dims.push_back(a.dim(form.transpose_a ? -1 : -2));
  result.dims.push_back(b.dim(form.transpose_b ? -2 : -1));
  if (args.inputs.size() > 2) {
    const Type& bias = args.inputs[2];
    if (bias.dtype != result.dtype || bias.rank() != 1 || !args.equal(bias.dim(0), result.dim(-1))) {
      args.fail("bias must be {}[{}], got {}", name_of(result.dtype), result.dim(-1).text(), text_of(bias));
    }
  }
  if (!form.activation.empty() && activation_row(form.activation) == nullptr) {
    args.fail("activation '{}' is no function of one floating operand", form.activation);
  }
  return {result};
}

// sum over k of a[..., m, 1, k] * b[..., 1, n, k]
Value product_meaning(Builder& b, Value x, Value y, const Form& form) {
  if (form.transpose_a) x = swap_last_two(b, x);
  if (!form.transpose_b) y = swap_last_two(b, y);
  const auto with_one = [&](Value v, int from_end) {
    Dims dims = b.type(v).dims;
    dims.insert(dims.end() - from_end, Dim(1));
    return reshape(b, v, dims);
  };
  return reduce_sum(b, mul(b, with_one(x, 1), with_one(y, 2)), {b.type(x).rank()}, /*keep=*/false);
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Form form = form_of(node.attrs);
  Value y;
  const DType dtype = node.types[0].dtype;
  if (dtype != b.type(inputs[0]).dtype) {
    Values wide(inputs.begin(), inputs.end());
    wide[0] = cast(b, wide[0], dtype);
    wide[1] = cast(b, wide[1], dtype);
    Attrs attrs = node.attrs;
    attrs.erase("out");
    return b.add_all("matmul", wide, attrs);
  }
  if (inputs.size() == 2 && form.activation.empty()) {
    return {product_meaning(b, inputs[0], inputs[1], form)};
  }
  y = matmul(b, inputs[0], inputs[1], {.transpose_a = form.transpose_a, .transpose_b = form.transpose_b});
  if (inputs.size() > 2) y = add(b, y, inputs[2]);
  if (!form.activation.empty()) y = elementwise(b, form.activation, {y});
  return {y};
}

// The plain product.
std::vector<RefTensor> evaluate_product(const EvalArgs& args) {
  const RefTensor &a = args.inputs[0], &b = args.inputs[1];
  const Form form = form_of(args.attrs);
  RefTensor out(result_dtype(args.attrs, a.dtype), args.shapes[0]);
  const size_t rank = out.shape.size();
  const int64_t m = out.shape[rank - 2], n = out.shape[rank - 1];
  const int64_t k = a.shape[rank - (form.transpose_a ? 2 : 1)];
  const int64_t batches = m * n == 0 ? 0 : count(out.shape) / (m * n);
  const int64_t b_step = b.shape.size() > 2 ? k * n : 0;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const double* x = a.f.data() + batch * m * k;
    const double* y = b.f.data() + batch * b_step;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          sum += x[form.transpose_a ? l * m + i : i * k + l] * y[form.transpose_b ? j * k + l : l * n + j];
        }
        out.f[static_cast<size_t>((batch * m + i) * n + j)] = sum;
      }
    }
  }
  return {out};
}

std::vector<RefTensor> evaluate_matmul(const EvalArgs& args) {
  std::vector<RefTensor> out = evaluate_product(args);
  RefTensor& y = out[0];
  const std::string activation = form_of(args.attrs).activation;
  const ScalarFunction* row = activation.empty() ? nullptr : activation_row(activation);
  for (int64_t at = 0; at < y.size(); ++at) {
    double& value = y.f[static_cast<size_t>(at)];
    if (args.inputs.size() > 2) value += args.inputs[2].f[static_cast<size_t>(at % y.shape.back())];
    if (row == nullptr) continue;
    std::vector<ScalarValue> registers;
    for (const ScalarInstr& instr : row->value.code) {
      const auto reg = [&](int32_t r) { return r < 0 ? ScalarValue{} : registers[static_cast<size_t>(r)]; };
      registers.push_back(instr.op == ScalarOp::input
                              ? ScalarValue{value, 0}
                              : apply(instr, reg(instr.a), reg(instr.b), reg(instr.c), DType::f32));
    }
    value = registers[static_cast<size_t>(row->value.outputs[0])].f;
  }
  return out;
}

Value as_matrix(Builder& b, Value x) {
  const Dims& dims = b.type(x).dims;
  return reshape(b, x, {product({dims.begin(), dims.end() - 1}), dims.back()});
}

// c = a b:  da = dc b^T,  db = a^T dc (rows of all batches summed where b is one matrix),  dbias = sum of
// dc's rows. A widened dc is first rounded to the operands' type, except for dbias.
Values gradient(Builder& b, const GradientArgs& args) {
  const Form form = form_of(args.node.attrs);
  const bool ta = form.transpose_a, tb = form.transpose_b;
  Value x = args.inputs[0], y = args.inputs[1], dc = args.d_outputs[0];
  if (!form.activation.empty()) {
    Attrs attrs = args.node.attrs;
    attrs.set("activation", std::string());
    const Value before = b.add("matmul", Values(args.inputs.begin(), args.inputs.end()), attrs);
    const Value slope =
        apply_tape(b, activation_row(form.activation)->derivative[0], Values{before, args.outputs[0]})[0];
    dc = mul(b, dc, slope);
  }
  Values grads(args.inputs.size());
  const Value wide = dc;
  dc = cast(b, dc, b.type(x).dtype);
  const bool widened = dc.id != wide.id;
  if (args.needed[0]) {
    grads[0] = ta ? matmul(b, y, dc, {.transpose_a = tb, .transpose_b = true})
                  : matmul(b, dc, y, {.transpose_b = !tb});
  }
  if (args.needed[1]) {
    if (b.type(y).rank() == 2 && b.type(x).rank() > 2) {
      x = as_matrix(b, x);
      dc = as_matrix(b, dc);
    }
    grads[1] = tb ? matmul(b, dc, x, {.transpose_a = true, .transpose_b = ta})
                  : matmul(b, x, dc, {.transpose_a = !ta});
  }
  if (args.inputs.size() > 2 && args.needed[2]) {
    if (widened) dc = wide;
    std::vector<int64_t> rows;
    for (int i = 0; i + 1 < b.type(dc).rank(); ++i) rows.push_back(i);
    grads[2] = reduce_sum(b, dc, rows, /*keep=*/false);
  }
  return grads;
}

// Column parallel: b cut along n. Row parallel: both cut along k, the result partial; a bias or an activation
// must wait for the sum. Else a cut of a's rows or batches stays.
ShardRule shard(const ShardArgs& args) {
  const Form form = form_of(args.node.attrs);
  const int rank = args.inputs[0].rank(), b_rank = args.inputs[1].rank();
  const int a_k = rank - (form.transpose_a ? 2 : 1);
  const int b_k = b_rank - (form.transpose_b ? 1 : 2), b_n = b_rank - (form.transpose_b ? 2 : 1);
  const bool plain = args.inputs.size() == 2 && form.activation.empty();
  const Placement &a = args.placements[0], &b = args.placements[1];
  const auto cut = [](const Placement& p, int dim) { return p == Placement::shard(dim); };
  ShardRule rule;
  rule.inputs.assign(args.inputs.size(), Placement::replicate());
  rule.outputs = {Placement::replicate()};
  if (cut(b, b_n)) {
    rule.inputs[1] = b;
    if (args.inputs.size() > 2) rule.inputs[2] = Placement::shard(0);
    rule.outputs[0] = Placement::shard(rank - 1);
  } else if (plain && (cut(b, b_k) || cut(a, a_k))) {
    rule.inputs[0] = Placement::shard(a_k);
    rule.inputs[1] = Placement::shard(b_k);
    rule.outputs[0] = Placement::partial();
  } else if (a.kind == Placement::Kind::shard && a.dim != a_k) {
    const bool batch = a.dim < rank - 2;
    rule.inputs[0] = a;
    if (batch && b_rank > 2) rule.inputs[1] = a;
    rule.outputs[0] = Placement::shard(batch ? a.dim : rank - 2);
  }
  return rule;
}

}  // namespace

Value matmul(Builder& b, Value x, Value y, const MatmulOptions& options) {
  Values inputs{x, y};
  if (options.bias) inputs.push_back(options.bias);
  return b.add("matmul", std::move(inputs),
               {{"transpose_a", options.transpose_a},
                {"transpose_b", options.transpose_b},
                {"activation", options.activation}});
}

Value linear(Builder& b, Value x, Value w, Value bias) {
  return matmul(b, x, w, {.transpose_b = true, .bias = bias});
}

void define_matmul(OpTable& table) {
  OpDef op;
  op.name = "matmul";
  op.summary = "[..., m, k] x [k, n] or [..., k, n] -> [..., m, n], plus bias [n], through an activation";
  op.min_inputs = 2;
  op.max_inputs = 3;
  op.infer = infer;
  op.evaluate = evaluate_matmul;
  op.meaning = meaning;
  op.gradient = gradient;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe

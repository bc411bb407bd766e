// Element-by-element ops: one definition made from each row of functions.h.
#include "ops/elementwise/elementwise.h"

#include <algorithm>

#include "ir/evaluate.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/functions.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

using Kind = ScalarFunction::Kind;

std::vector<Type> infer(const ScalarFunction& row, const InferArgs& args) {
  Type result{args.inputs.back().dtype, broadcast_dims(args, args.inputs)};
  const size_t first = row.kind == Kind::select ? 1 : 0;
  if (row.kind == Kind::select && args.inputs[0].dtype != DType::boolean) {
    args.fail("the condition must be bool, got {}", text_of(args.inputs[0]));
  }
  for (size_t i = first; i < args.inputs.size(); ++i) {
    const DType dtype = args.inputs[i].dtype;
    if (dtype != result.dtype) {
      args.fail("operands must have one type, got {} and {}", text_of(args.inputs[i]),
                text_of(args.inputs.back()));
    }
    if (row.kind == Kind::floating && !is_float(dtype))
      args.fail("operand must be floating, got {}", name_of(dtype));
    if (row.kind == Kind::integer && !is_integer(dtype))
      args.fail("operand must be an integer, got {}", name_of(dtype));
    if (row.kind == Kind::logical && dtype != DType::boolean)
      args.fail("operand must be bool, got {}", name_of(dtype));
    if (row.kind == Kind::arithmetic && dtype == DType::boolean) args.fail("operand must not be bool");
  }
  if (row.kind == Kind::compare) result.dtype = DType::boolean;
  if (row.kind == Kind::cast) result.dtype = args.attrs.dtype("dtype");
  return {result};
}

// Row-major index of a broadcast operand for result element `at`.
int64_t operand_index(const Shape& result, const Shape& operand, int64_t at) {
  int64_t index = 0;
  int64_t stride = 1;
  int64_t rest = at;
  const auto offset = result.size() - operand.size();
  for (size_t i = result.size(); i-- > 0;) {
    const int64_t coordinate = rest % result[i];
    rest /= result[i];
    if (i < offset) continue;
    const int64_t dim = operand[i - offset];
    if (dim != 1) index += coordinate * stride;
    stride *= dim;
  }
  return index;
}

ScalarValue element(const RefTensor& tensor, int64_t at) {
  ScalarValue value;
  if (is_float(tensor.dtype)) {
    value.f = tensor.f[static_cast<size_t>(at)];
  } else {
    value.i = tensor.i[static_cast<size_t>(at)];
  }
  return value;
}

std::vector<RefTensor> evaluate(const ScalarFunction& row, const EvalArgs& args) {
  const DType result_type = args.node.types[0].dtype;
  RefTensor out(result_type, args.shapes[0]);
  std::vector<ScalarValue> registers(row.value.code.size());
  std::vector<DType> types(row.value.code.size());
  for (int64_t at = 0; at < count(out.shape); ++at) {
    for (size_t r = 0; r < row.value.code.size(); ++r) {
      ScalarInstr instr = row.value.code[r];
      if (instr.op == ScalarOp::input) {
        const RefTensor& operand = args.inputs[r];
        registers[r] = element(operand, operand_index(out.shape, operand.shape, at));
        types[r] = operand.dtype;
        continue;
      }
      // Tapes are written for floats; on integers every register takes the operands' type.
      if (instr.type != DType::boolean) instr.type = result_type;
      types[r] = instr.type;
      const auto reg = [&](int32_t k) { return k < 0 ? ScalarValue{} : registers[static_cast<size_t>(k)]; };
      const DType operand_type = instr.a < 0 ? instr.type : types[static_cast<size_t>(instr.a)];
      registers[r] = apply(instr, reg(instr.a), reg(instr.b), reg(instr.c), operand_type);
    }
    const ScalarValue& value = registers[static_cast<size_t>(row.value.outputs[0])];
    if (is_float(result_type)) {
      out.f[static_cast<size_t>(at)] = value.f;
    } else {
      out.i[static_cast<size_t>(at)] = value.i;
    }
  }
  return {out};
}

Values gradient(const ScalarFunction& row, Builder& b, const GradientArgs& args) {
  const Value dy = args.d_outputs[0];
  Values grads(args.inputs.size());
  for (size_t i = 0; i < args.inputs.size(); ++i) {
    if (!args.needed[i]) continue;
    const Type type = b.type(args.inputs[i]);
    Value local;
    if (row.kind == Kind::select) {
      const Value zero = like(b, dy, 0);
      local = i == 1 ? select(b, args.inputs[0], dy, zero) : select(b, args.inputs[0], zero, dy);
    } else if (row.kind == Kind::cast) {
      local = cast(b, dy, type.dtype);
    } else if (row.name == "add" || (row.name == "sub" && i == 0)) {
      local = dy;
    } else if (row.name == "sub" || row.name == "neg") {
      local = elementwise(b, "neg", {dy});
    } else {
      Values operands = args.node.inputs;
      operands.assign(args.inputs.begin(), args.inputs.end());
      operands.push_back(args.outputs[0]);
      local = mul(b, dy, apply_tape(b, row.derivative[i], operands)[0]);
    }
    grads[i] = sum_to(b, local, type);
  }
  return grads;
}

}  // namespace

Value elementwise(Builder& b, std::string_view function, Values operands) {
  return b.add(function, std::move(operands));
}

Value cast(Builder& b, Value x, DType dtype) {
  return b.type(x).dtype == dtype ? x : b.add("cast", {x}, {{"dtype", dtype}});
}

Value like(Builder& b, Value x, double value) { return b.scalar(value, b.type(x).dtype); }

Value scale(Builder& b, Value x, double factor) { return mul(b, x, like(b, x, factor)); }

Values apply_tape(Builder& b, const Tape& tape, std::span<const Value> inputs) {
  Values registers;
  for (const ScalarInstr& instr : tape.code) {
    if (instr.op == ScalarOp::input) {
      registers.push_back(inputs[static_cast<size_t>(instr.imm)]);
    } else if (instr.op == ScalarOp::constant) {
      registers.push_back(like(b, inputs[0], instr.imm));
    } else {
      Values operands;
      const int32_t regs[] = {instr.a, instr.b, instr.c};
      for (int k = 0; k < info_of(instr.op).arity; ++k)
        operands.push_back(registers[static_cast<size_t>(regs[k])]);
      registers.push_back(elementwise(b, info_of(instr.op).name, std::move(operands)));
    }
  }
  Values outputs;
  for (const int32_t reg : tape.outputs) outputs.push_back(registers[static_cast<size_t>(reg)]);
  return outputs;
}

Value sum_to(Builder& b, Value x, const Type& type) {
  const Type from = b.type(x);
  const int extra = from.rank() - type.rank();
  std::vector<int64_t> axes;
  for (int i = 0; i < from.rank(); ++i) {
    if (i < extra || (is_one(type.dim(i - extra)) && !is_one(from.dim(i)))) axes.push_back(i);
  }
  if (!axes.empty()) x = reduce_sum(b, x, axes, /*keep=*/false);
  if (b.type(x).dims != type.dims) {
    // A constant's scalar derivative may still be smaller than the operand: spread it, else only 1s differ.
    if (b.type(x).rank() < type.rank() && axes.empty()) return broadcast(b, x, type.dims);
    x = reshape(b, x, type.dims);
  }
  return x;
}

void define_elementwise(OpTable& table) {
  for (const ScalarFunction& row : scalar_functions()) {
    OpDef op;
    op.name = row.name;
    op.summary = "element by element, operands broadcast";
    op.min_inputs = op.max_inputs = row.arity;
    op.pointwise = true;
    op.infer = [&row](const InferArgs& args) { return infer(row, args); };
    op.evaluate = [&row](const EvalArgs& args) { return evaluate(row, args); };
    op.differentiable = !row.derivative.empty() || row.kind == Kind::select || row.kind == Kind::cast;
    if (op.differentiable) {
      op.gradient = [&row](Builder& b, const GradientArgs& args) { return gradient(row, b, args); };
    }
    // Element by element: a cut along any dim stays; the results of a partial sum are not to be had before
    // the sum.
    op.shard = [&row](const ShardArgs& args) {
      ShardRule rule;
      const int rank = args.node.types[0].rank();
      Placement out = Placement::replicate();
      for (size_t i = 0; i < args.placements.size(); ++i) {
        if (args.placements[i].kind == Placement::Kind::shard) {
          out = Placement::shard(args.placements[i].dim + rank - args.inputs[i].rank());
        }
      }
      for (const Type& input : args.inputs) {
        const int dim = out.dim - (rank - input.rank());
        const bool cut = out.kind == Placement::Kind::shard && dim >= 0 && !is_one(input.dim(dim));
        rule.inputs.push_back(cut ? Placement::shard(dim) : Placement::replicate());
      }
      rule.outputs = {out};
      return rule;
    };
    table.add(std::move(op));
  }
}

}  // namespace floe

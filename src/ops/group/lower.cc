#include "ops/group/lower.h"

#include <cmath>

#include "base/error.h"
#include "ir/op.h"
#include "ops/elementwise/functions.h"
#include "ops/group/group.h"

namespace floe {
namespace {

class Lowering {
 public:
  explicit Lowering(const Graph& body)
      : body_(body), registers_(static_cast<size_t>(body.value_count()), -1) {}

  Tape run() {
    for (size_t i = 0; i < body_.inputs().size(); ++i)
      input_of_[body_.inputs()[i].value.id] = static_cast<int>(i);
    tape_.inputs = static_cast<int>(body_.inputs().size());
    for (const Node& node : body_.nodes()) {
      if (node.op->name != "input") set(node.result(), lower(node));
    }
    for (const NamedValue& output : body_.outputs()) tape_.outputs.push_back(reg(output.value));
    return std::move(tape_);
  }

 private:
  void set(Value value, int32_t r) { registers_[static_cast<size_t>(value.id)] = r; }

  int32_t reg(Value value) {
    int32_t& r = registers_[static_cast<size_t>(value.id)];
    if (r < 0) {
      const int input = input_of_.at(value.id);
      tape_.code.push_back(
          {ScalarOp::input, body_.type(value).dtype, -1, -1, -1, static_cast<double>(input)});
      r = static_cast<int32_t>(tape_.code.size()) - 1;
    }
    return r;
  }

  // Ordinals have registers of their own (lower.h).
  int32_t ordinals(Value value) {
    const auto found = input_of_.find(value.id);
    FLOE_CHECK(found != input_of_.end(), "ordinals computed inside a group");
    const auto [at, added] = ordinals_.emplace(value.id, static_cast<int32_t>(tape_.code.size()));
    if (added) {
      tape_.code.push_back({ScalarOp::input, DType::i32, -1, -1, -1, static_cast<double>(found->second)});
    }
    return at->second;
  }

  int32_t seed(Value value) {
    const bool outside = input_of_.find(value.id) != input_of_.end() || body_.is(value, "constant");
    FLOE_CHECK(outside, "seed computed inside a group");
    return reg(value);
  }

  int32_t emit(ScalarInstr instr) {
    for (size_t i = 0; i < tape_.code.size(); ++i) {
      if (tape_.code[i] == instr && std::signbit(tape_.code[i].imm) == std::signbit(instr.imm)) {
        return static_cast<int32_t>(i);
      }
    }
    tape_.code.push_back(instr);
    return static_cast<int32_t>(tape_.code.size()) - 1;
  }
  int32_t constant(DType type, double value) {
    return emit({ScalarOp::constant, type, -1, -1, -1, is_float(type) ? round_to(type, value) : value});
  }

  int32_t random(const Dims& dims, Value seed_value, Value ordinals_value, const Node& node) {
    FLOE_CHECK(dims == iteration_dims(), "uniform numbers of dims {} in a group over {}", text_of(dims),
               text_of(iteration_dims()));
    const int32_t a = seed(seed_value);
    const int32_t b = ordinals(ordinals_value);
    return emit({ScalarOp::uniform, DType::f32, a, b, -1, static_cast<double>(node.attrs.integer("op_id"))});
  }
  const Dims& iteration_dims() const { return body_.type(body_.outputs()[0].value).dims; }

  int32_t lower(const Node& node) {
    const std::string& name = node.op->name;
    const DType type = node.types[0].dtype;
    if (name == "constant") {
      const Tensor& value = *node.attrs.tensor("value");
      FLOE_CHECK(value.size() == 1 && fits_tape(value), "a constant of {} elements in a group", value.size());
      return constant(type, value.at(0));
    }
    if (name == "broadcast") return reg(node.inputs[0]);
    if (name == "uniform") return random(node.types[0].dims, node.inputs[0], node.inputs[1], node);
    if (name == "dropout") {
      const double p = node.attrs.number("p");
      const int32_t u = random(node.types[0].dims, node.inputs[1], node.inputs[2], node);
      const int32_t keep = emit({ScalarOp::le, DType::boolean, constant(DType::f32, p), u});
      const int32_t scaled = emit({ScalarOp::mul, type, reg(node.inputs[0]), constant(type, 1 / (1 - p))});
      return emit({ScalarOp::select, type, keep, scaled, constant(type, 0)});
    }
    const ScalarFunction* row = find_scalar_function(name);
    FLOE_CHECK(row != nullptr, "'{}' cannot be part of a group", name);
    return expand(row->value, node, type);
  }

  // The row's tape on the node's operands. Rows are written for f32: on other types every register takes the
  // result's.
  int32_t expand(const Tape& row, const Node& node, DType type) {
    std::vector<int32_t> map;
    const auto at = [&](int32_t r) { return r < 0 ? r : map[static_cast<size_t>(r)]; };
    for (ScalarInstr instr : row.code) {
      if (instr.op == ScalarOp::input) {
        map.push_back(reg(node.inputs[static_cast<size_t>(instr.imm)]));
        continue;
      }
      if (instr.type != DType::boolean) instr.type = type;
      if (instr.op == ScalarOp::constant) {
        map.push_back(constant(instr.type, instr.imm));
        continue;
      }
      map.push_back(emit({instr.op, instr.type, at(instr.a), at(instr.b), at(instr.c), instr.imm}));
    }
    return at(row.outputs[0]);
  }

  const Graph& body_;
  Tape tape_;
  std::vector<int32_t> registers_;  // by body value
  std::map<int32_t, int> input_of_;
  std::map<int32_t, int32_t> ordinals_;
};

}  // namespace

Tape lower_group(const Graph& body) { return Lowering(body).run(); }

Tape lower_node(const Graph& graph, const Node& node) { return lower_group(*body_of(graph, node)); }

bool fits_tape(const Tensor& constant) {
  if (constant.size() != 1) return false;
  if (constant.dtype() != DType::i64) return true;
  const int64_t value = *constant.as<int64_t>();
  return value >= -(INT64_C(1) << 53) && value <= (INT64_C(1) << 53);
}

std::vector<std::pair<int, int>> group_in_place(const Graph& graph, const Node& group) {
  const Tape tape = lower_group(*group.body);
  for (const int32_t r : tape.outputs) {
    if (tape.code[static_cast<size_t>(r)].op == ScalarOp::input) return {};
  }
  std::vector<std::pair<int, int>> pairs;
  for (int k = 0; k < group.result_count(); ++k) {
    const Type& result = group.types[static_cast<size_t>(k)];
    for (size_t j = 0; j < group.inputs.size(); ++j) {
      const Type& input = graph.type(group.inputs[j]);
      if (input.dims == result.dims && size_of(input.dtype) == size_of(result.dtype)) {
        pairs.emplace_back(k, static_cast<int>(j));
      }
    }
  }
  return pairs;
}

}  // namespace floe

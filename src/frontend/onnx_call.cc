#include "frontend/onnx_call.h"

namespace floe {

Value OnnxCall::x(size_t i) const {
  if (!has(i)) fail("operand {} is left out", i);
  return in[i];
}

const OnnxAttribute* OnnxCall::attribute(std::string_view name) const {
  const OnnxAttribute* found = node.find(name);
  if (found == nullptr || found->reference.empty()) return found;
  if (arguments == nullptr) fail("attribute '{}' refers to '{}' outside a function", name, found->reference);
  const auto given = arguments->find(found->reference);
  return given == arguments->end() ? nullptr : &given->second;
}

namespace {
const OnnxAttribute* of_kind(const OnnxCall& c, std::string_view name, OnnxAttribute::Kind kind) {
  const OnnxAttribute* found = c.attribute(name);
  if (found != nullptr && found->kind != kind)
    c.fail("attribute '{}' is of another type than it must be", name);
  return found;
}
}  // namespace

int64_t OnnxCall::integer(std::string_view name, int64_t otherwise) const {
  const OnnxAttribute* found = of_kind(*this, name, OnnxAttribute::Kind::i);
  return found == nullptr ? otherwise : found->i;
}
double OnnxCall::number(std::string_view name, double otherwise) const {
  const OnnxAttribute* found = of_kind(*this, name, OnnxAttribute::Kind::f);
  return found == nullptr ? otherwise : static_cast<double>(found->f);
}
std::string OnnxCall::text(std::string_view name, std::string_view otherwise) const {
  const OnnxAttribute* found = of_kind(*this, name, OnnxAttribute::Kind::s);
  return found == nullptr ? std::string(otherwise) : found->s;
}
std::optional<std::vector<int64_t>> OnnxCall::integers(std::string_view name) const {
  const OnnxAttribute* found = of_kind(*this, name, OnnxAttribute::Kind::ints);
  if (found == nullptr) return std::nullopt;
  return found->ints;
}

Dims OnnxCall::dims(Value value, std::string_view what) const {
  const std::optional<Dims> found = known.dims(value);
  if (!found)
    fail("{} depends on data: it must follow from constants, shapes or an input whose value is given", what);
  return *found;
}

std::vector<int64_t> OnnxCall::fixed(Value value, std::string_view what) const {
  std::vector<int64_t> numbers;
  for (const Dim& dim : dims(value, what)) numbers.push_back(constant_dim(dim, what));
  return numbers;
}

double OnnxCall::scalar(Value value, std::string_view what) const {
  const RefTensor* found = known.numbers(value);
  if (found == nullptr)
    fail("{} depends on data: it must be a constant or an input whose value is given", what);
  if (found->size() != 1) fail("{} must be one number, has {} elements", what, found->size());
  return found->number(0);
}

std::optional<std::vector<int64_t>> OnnxCall::axes(size_t i, std::string_view name) const {
  if (has(i)) return fixed(in[i], name);
  return integers(name);
}

int64_t OnnxCall::one(Value value, std::string_view what) const {
  const std::vector<int64_t> numbers = fixed(value, what);
  if (numbers.size() != 1) fail("{} must be one number, has {} elements", what, numbers.size());
  return numbers[0];
}

void OnnxCall::want_rank(Value value, int rank, std::string_view what) const {
  if (b.type(value).rank() != rank) fail("{} must have rank {}, is {}", what, rank, text_of(b.type(value)));
}

int OnnxCall::axis(int64_t axis, int rank) const {
  const int64_t at = axis < 0 ? axis + rank : axis;
  if (at < 0 || at >= rank) fail("axis {} is outside rank {}", axis, rank);
  return static_cast<int>(at);
}

bool OnnxCall::assume_less_equal(const Dim& low, const Dim& high, std::string_view what) const {
  const Known known_order = b.symbols().less_equal(low, high);
  if (known_order != Known::unknown) return known_order == Known::yes;
  const std::string text = fmt::format("{}: cannot tell whether {} <= {}", what, low.text(), high.text());
  const Dim room = high - low;
  std::vector<std::string> names;
  room.collect_symbols(&names);
  for (const std::string& name : names) {
    const Dim symbol = Dim::symbol(name);
    if ((room - symbol).is_constant()) throw BoundNeeded(name, false, -(room - symbol).constant(), text);
    if ((room + symbol).is_constant()) throw BoundNeeded(name, true, (room + symbol).constant(), text);
  }
  fail("{}", text);
}

int64_t OnnxCall::constant_dim(const Dim& dim, std::string_view what) const {
  if (!dim.is_constant()) fail("{} must be a number, is {}", what, dim.text());
  return dim.constant();
}

const OnnxRules& onnx_rules() {
  static const OnnxRules rules = [] {
    OnnxRules all;
    add_onnx_pointwise(all);
    add_onnx_shapes(all);
    add_onnx_movement(all);
    add_onnx_index(all);
    add_onnx_reduce(all);
    add_onnx_norm(all);
    add_onnx_product(all);
    add_onnx_quantize(all);
    add_onnx_attention(all);
    add_onnx_loss(all);
    add_onnx_window(all);
    add_onnx_control(all);
    return all;
  }();
  return rules;
}

}  // namespace floe

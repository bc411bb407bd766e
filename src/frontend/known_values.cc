#include "frontend/known_values.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "ir/op.h"

namespace floe {
namespace {

constexpr int64_t kMostNumbers = 1 << 16;  // elements of a value that is computed while reading
constexpr int64_t kMostSizes = 1024;
constexpr size_t kMostNodes = 4096;  // that may lead to one value
constexpr int kMostDepth = 256;

bool fixed(const Type& type, int64_t most) {
  double n = 1;
  for (const Dim& dim : type.dims) {
    if (!dim.is_constant()) return false;
    n *= static_cast<double>(dim.constant());
  }
  return n <= static_cast<double>(most);
}

bool needs_no_size(const Node& node) {
  for (const auto& [name, value] : node.attrs.all()) {
    const Dims* dims = std::get_if<Dims>(&value);
    if (dims != nullptr && !std::ranges::all_of(*dims, &Dim::is_constant)) return false;
  }
  return std::ranges::all_of(node.types, [](const Type& type) { return fixed(type, kMostNumbers); });
}

Shape shape_of(const Type& type) {
  Shape shape;
  for (const Dim& dim : type.dims) shape.push_back(dim.constant());
  return shape;
}

std::optional<Dim> truth(Known known) {
  if (known == Known::unknown) return std::nullopt;
  return Dim(known == Known::yes ? 1 : 0);
}

}  // namespace

const RefTensor* KnownValues::numbers(Value value) {
  const Graph& graph = b_.graph();
  if (const auto found = numbers_.find(value.id); found != numbers_.end()) {
    return found->second ? &*found->second : nullptr;
  }
  std::set<int> needed;
  std::vector<Value> open{value};
  std::vector<Value> doors;
  while (!open.empty()) {
    const int at = graph.producer_index(open.back());
    open.pop_back();
    const Node& node = graph.node(at);
    if (numbers_.count(node.first.id) != 0 && numbers_.at(node.first.id)) continue;
    if (!needed.insert(at).second) continue;
    if (needed.size() > kMostNodes) return nullptr;
    if (node.op->name == "input" || node.op->name == "state") {
      doors.push_back(node.first);
      continue;
    }
    if (!needs_no_size(node)) return nullptr;
    if (!node.op->evaluate && !node.op->meaning && node.body == nullptr) return nullptr;
    open.insert(open.end(), node.inputs.begin(), node.inputs.end());
  }
  for (const Value door : doors) {
    const Node& node = graph.producer(door);
    const TensorPtr tensor = offer_(node);
    if (tensor == nullptr || tensor->size() > kMostNumbers) {
      numbers_[value.id] = std::nullopt;
      return nullptr;
    }
    numbers_[door.id] = ref_of(*tensor);
  }
  for (const int at : needed) {
    const Node& node = graph.node(at);
    if (const auto found = numbers_.find(node.first.id); found != numbers_.end() && found->second) continue;
    std::vector<RefTensor> inputs;
    for (const Value input : node.inputs) inputs.push_back(*numbers_.at(input.id));
    std::vector<RefTensor> results = evaluate_node(graph, node, inputs, {});
    for (size_t k = 0; k < results.size(); ++k) {
      // Every step rounds, as it would on a device.
      numbers_[node.result(static_cast<int>(k)).id] = ref_of(tensor_of(results[k]));
    }
  }
  return &*numbers_.at(value.id);
}

std::optional<Dims> KnownValues::dims(Value value) {
  const Elements* found = elements(value, 0);
  if (found == nullptr) return std::nullopt;
  Dims dims;
  for (const std::optional<Dim>& dim : *found) {
    if (!dim) return std::nullopt;
    dims.push_back(*dim);
  }
  return dims;
}

const KnownValues::Elements* KnownValues::elements(Value value, int depth) {
  const auto found = elements_.find(value.id);
  const auto at = found != elements_.end() ? found : elements_.emplace(value.id, compute(value, depth)).first;
  return at->second ? &*at->second : nullptr;
}

std::optional<KnownValues::Elements> KnownValues::compute(Value value, int depth) {
  const Graph& graph = b_.graph();
  const Node& node = graph.producer(value);
  const Type& type = graph.type(value);
  if (is_float(type.dtype) || !fixed(type, kMostSizes) || depth > kMostDepth) return std::nullopt;
  const std::string& op = node.op->name;
  const int64_t n = type.size().constant();
  std::vector<const Elements*> x;
  const auto operands = [&] {
    for (const Value input : node.inputs) x.push_back(elements(input, depth + 1));
    return std::ranges::none_of(x, [](const Elements* e) { return e == nullptr; });
  };
  if (op == "iota" && type.rank() == 1) {
    Elements out;
    for (int64_t i = 0; i < n; ++i) out.emplace_back(node.attrs.dims("start")[0] + Dim(i));
    return out;
  }
  const bool same = op == "reshape" || (op == "transpose" && type.rank() < 2);
  const bool whole_rows = (op == "concat" || op == "slice") && node.attrs.integer("axis") == 0;
  const bool pointwise = node.op->pointwise;
  if ((same || whole_rows || pointwise) && operands()) {
    if (same) return *x[0];
    if (pointwise) {
      Elements out = compute_pointwise(node, x);
      const auto unknown = [](const std::optional<Dim>& e) { return !e; };
      return std::ranges::none_of(out, unknown) ? out : from_numbers(value).value_or(out);
    }
    Elements out;
    if (op == "concat") {
      for (const Elements* part : x) out.insert(out.end(), part->begin(), part->end());
      return out;
    }
    const Dim& begin = node.attrs.dims("begin")[0];
    if (begin.is_constant() && type.dim(0).constant() > 0) {
      const int64_t first = begin.constant() * (n / type.dim(0).constant());
      return Elements(x[0]->begin() + first, x[0]->begin() + first + n);
    }
  }
  if (op == "gather" && node.attrs.integer("axis") == 0 && graph.type(node.inputs[0]).rank() == 1) {
    if (!operands()) return std::nullopt;
    Elements out;
    for (const std::optional<Dim>& at : *x[1]) {
      if (!at || !at->is_constant()) return std::nullopt;
      const int64_t index = at->constant();
      if (index < 0 || index >= static_cast<int64_t>(x[0]->size())) return std::nullopt;
      out.push_back((*x[0])[static_cast<size_t>(index)]);
    }
    return out;
  }
  return from_numbers(value);
}

// No size is the least i64, which Dim does not hold; it counts as the one above.
std::optional<KnownValues::Elements> KnownValues::from_numbers(Value value) {
  const RefTensor* known = numbers(value);
  if (known == nullptr) return std::nullopt;
  Elements out;
  for (const int64_t number : known->i) out.emplace_back(Dim(std::max(number, -INT64_MAX)));
  return out;
}

KnownValues::Elements KnownValues::compute_pointwise(const Node& node,
                                                     const std::vector<const Elements*>& x) {
  const Graph& graph = b_.graph();
  const Shape shape = shape_of(node.types[0]);
  Elements out;
  for (int64_t at = 0; at < count(shape); ++at) {
    std::vector<std::optional<Dim>> operands;
    for (size_t k = 0; k < x.size(); ++k) {
      const Shape from = shape_of(graph.type(node.inputs[k]));
      int64_t rest = at, index = 0, stride = 1;
      for (size_t i = shape.size(); i-- > shape.size() - from.size();) {
        const int64_t dim = from[i - (shape.size() - from.size())];
        if (dim != 1) index += rest % shape[i] * stride;
        rest /= shape[i];
        stride *= dim;
      }
      operands.push_back((*x[k])[static_cast<size_t>(index)]);
    }
    try {
      out.push_back(apply(node.op->name, operands));
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::bug) throw;
      out.emplace_back();  // past 64 bits
    }
  }
  return out;
}

std::optional<Dim> KnownValues::apply(std::string_view op, const std::vector<std::optional<Dim>>& x) const {
  const SymbolTable& symbols = b_.symbols();
  const auto is = [&](size_t k, int64_t number) { return x[k] && *x[k] == Dim(number); };
  if (op == "select") return is(0, 1) ? x[1] : is(0, 0) ? x[2] : std::nullopt;
  if (op == "logical_and" && (is(0, 0) || is(1, 0))) return Dim(0);
  if (op == "logical_or" && (is(0, 1) || is(1, 1))) return Dim(1);
  if (!std::ranges::all_of(x, [](const auto& e) { return e.has_value(); })) return std::nullopt;
  const Dim& a = *x[0];
  if (op == "cast" || op == "broadcast") return a;
  if (op == "neg") return Dim(0) - a;
  if (op == "logical_not") return Dim(1) - a;
  if (x.size() < 2) return std::nullopt;
  const Dim& b = *x[1];
  if (op == "add") return a + b;
  if (op == "sub") return a - b;
  if (op == "mul") return a * b;
  const bool positive = b.is_constant() ? b.constant() > 0 : symbols.less_equal(Dim(1), b) == Known::yes;
  if (op == "floordiv" && positive) return floor_div(a, b);
  if (op == "rem" && positive) return modulo(a, b);
  if (op == "logical_and") return a * b;
  if (op == "logical_or") return a + b - a * b;
  if (op == "eq") return truth(symbols.equal(a, b));
  const Known less = symbols.less_equal(a, b);
  if (op == "le") return truth(less);
  if (op == "lt" || op == "ne") {
    const Known reverse = op == "lt" ? symbols.less_equal(b, a) : symbols.equal(a, b);
    return truth(reverse == Known::unknown ? reverse : reverse == Known::yes ? Known::no : Known::yes);
  }
  if (op == "min" && less != Known::unknown) return less == Known::yes ? a : b;
  if (op == "max" && less != Known::unknown) return less == Known::yes ? b : a;
  return std::nullopt;
}

}  // namespace floe

#include "compile/numpy_nodes.h"

#include <fmt/ranges.h>

#include <functional>
#include <map>

#include "base/error.h"
#include "compile/numpy_scalar.h"
#include "ir/op.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"
#include "tensor/attrs.h"

namespace floe {
namespace {

struct Call {
  const Node& node;
  std::span<const std::string> x;  // operands

  const Type& type() const { return node.types[0]; }
  std::string dims() const { return numpy_dims(type().dims); }
  std::string dim(std::string_view attribute) const { return node.attrs.dims(attribute)[0].text(); }
  int64_t axis() const {
    const int64_t axis = node.attrs.integer("axis");
    return axis < 0 ? axis + type().rank() : axis;
  }
  std::string integers(std::string_view attribute) const {
    const std::vector<int64_t>& values = node.attrs.integers(attribute);
    return fmt::format("({}{})", fmt::join(values, ", "), values.size() == 1 ? "," : "");
  }
  const char* flag(std::string_view attribute) const { return node.attrs.flag(attribute) ? "True" : "False"; }
};

std::string print_slice(const Call& c) {
  std::string index;
  for (int64_t k = 0; k < c.axis(); ++k) index += ":, ";
  const Dim begin = c.node.attrs.dims("begin")[0];
  const std::string end = (begin + c.node.attrs.dims("length")[0]).text();
  return fmt::format("{}[{}{}:{}]", c.x[0], index, begin == Dim(0) ? "" : begin.text(), end);
}

std::string print_matmul(const Call& c) {
  const auto operand = [&](size_t k, std::string_view flag) {
    return c.x[k] + (c.node.attrs.flag(flag, false) ? ".swapaxes(-1, -2)" : "");
  };
  return fmt::format("{} @ {}", operand(0, "transpose_a"), operand(1, "transpose_b"));
}

std::string print_adamw(const Call& c) {
  const auto number = [&](std::string_view name) { return c.node.attrs.number(name); };
  const std::string decayed = c.node.attrs.has("decayed") ? c.integers("decayed") : "None";
  return fmt::format("_adamw({}, beta1={}, beta2={}, eps={}, weight_decay={}, decayed={})",
                     fmt::join(c.x, ", "), number("beta1"), number("beta2"), number("eps"),
                     number("weight_decay"), decayed);
}

// Ops that are not pointwise, by name.
const std::map<std::string, std::function<std::string(const Call&)>, std::less<>>& rows() {
  using C = const Call&;
  static const std::map<std::string, std::function<std::string(C)>, std::less<>> rows = {
      {"broadcast", [](C c) { return fmt::format("np.broadcast_to({}, {})", c.x[0], c.dims()); }},
      {"reshape", [](C c) { return fmt::format("np.reshape({}, {})", c.x[0], c.dims()); }},
      {"slice", print_slice},
      {"transpose", [](C c) { return fmt::format("np.transpose({}, {})", c.x[0], c.integers("perm")); }},
      {"concat",
       [](C c) { return fmt::format("np.concatenate(({},), axis={})", fmt::join(c.x, ", "), c.axis()); }},
      {"iota", [](C c) { return fmt::format("_iota({}, {}, {})", c.dims(), c.axis(), c.dim("start")); }},
      {"gather",
       [](C c) { return fmt::format("_gather({}, {}, {})", c.x[0], c.x[1], c.node.attrs.integer("axis")); }},
      {"scatter",
       [](C c) {
         return fmt::format("_scatter({}, {})", fmt::join(c.x, ", "), quote(c.node.attrs.text("reduction")));
       }},
      {"embedding", [](C c) { return fmt::format("_rows({}, {})", c.x[0], c.x[1]); }},
      {"embedding_grad",
       [](C c) { return fmt::format("_sum_rows({}, {}, {})", c.x[0], c.x[1], c.dim("rows")); }},
      {"matmul", print_matmul},
      {"reduce_sum",
       [](C c) { return fmt::format("_sum({}, {}, {})", c.x[0], c.integers("axes"), c.flag("keep")); }},
      {"reduce_max",
       [](C c) { return fmt::format("_max({}, {}, {})", c.x[0], c.integers("axes"), c.flag("keep")); }},
      {"sum_squares", [](C c) { return fmt::format("_sum_squares({})", fmt::join(c.x, ", ")); }},
      {"adamw", print_adamw},
      {"rope",
       [](C c) {
         return fmt::format("_rope({}, {}, base={}, interleaved={}, inverse={})", c.x[0], c.x[1],
                            c.node.attrs.number("base"), c.flag("interleaved"), c.flag("inverse"));
       }},
      {"top_k", [](C c) { return fmt::format("_top_k({}, {})", c.x[0], c.node.attrs.integer("k")); }},
      {"cache_append", [](C c) { return fmt::format("_cache_append({})", fmt::join(c.x, ", ")); }},
  };
  return rows;
}

}  // namespace

std::string numpy_dims(const Dims& dims) {
  std::string text;
  for (const Dim& dim : dims) text += (text.empty() ? "" : " ") + dim.text() + ",";
  if (dims.size() > 1) text.pop_back();
  return "(" + text + ")";
}

bool is_numpy_function(const Node& node) {
  const ScalarFunction* row = find_scalar_function(node.op->name);
  return row != nullptr && row->value.code.size() > static_cast<size_t>(row->arity) + 1;
}

std::string numpy_node(const Graph& graph, const Node& node, std::span<const std::string> operands) {
  if (const auto row = rows().find(node.op->name); row != rows().end()) return row->second({node, operands});
  FLOE_CHECK(node.op->pointwise, "no NumPy for op '{}'", node.op->name);
  if (is_numpy_function(node)) return fmt::format("{}({})", node.op->name, fmt::join(operands, ", "));
  const Tape tape = lower_node(graph, node);
  const ScalarInstr& instr = tape.code[static_cast<size_t>(tape.outputs[0])];
  std::vector<std::string> named;
  for (const int32_t r : {instr.a, instr.b, instr.c}) {
    if (r < 0) continue;
    const ScalarInstr& operand = tape.code[static_cast<size_t>(r)];
    FLOE_CHECK(operand.op == ScalarOp::input, "'{}' has an operand that is no input", node.op->name);
    named.push_back(operands[static_cast<size_t>(operand.imm)]);
  }
  return numpy_expression(tape, tape.outputs[0], named, numpy_dims(node.types[0].dims));
}

std::string numpy_node_prelude() {
  return R"(
def floordiv(a, b):
    return a // b


def mod(a, b):
    return a % b


def _given(arrays, name, dtype, shape):
    x = np.asarray(arrays[name])
    if x.dtype != dtype or x.shape != shape:
        raise ValueError(f"'{name}' must be {np.dtype(dtype)} of shape {shape}, is {x.dtype} of shape {x.shape}")
    return x


def _sum(x, axes, keep):  # floats are added up in double
    wide = np.float64 if x.dtype == np.float32 else x.dtype
    return np.sum(x, axis=axes, keepdims=keep, dtype=wide).astype(x.dtype)


def _max(x, axes, keep):
    least = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    return np.max(x, axis=axes, keepdims=keep, initial=x.dtype.type(least))


def _sum_squares(*xs):
    return np.float32(sum(np.sum(np.square(x, dtype=np.float64)) for x in xs))


def _iota(shape, axis, start):
    counts = np.arange(start, start + shape[axis], dtype=np.int64).astype(np.int32)
    return np.broadcast_to(counts.reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape)


def _ids(ids, rows):
    if np.any((ids < 0) | (ids >= rows)):
        raise IndexError(f"an id lies outside 0..{rows - 1}")
    return ids


def _rows(table, ids):
    return table[_ids(ids, len(table))]


def _gather(x, indices, axis):
    return np.take(x, _ids(indices, x.shape[axis]), axis=axis)


def _scatter(x, indices, updates, reduction):
    join = {"none": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
    y = x.copy()
    for k, at in enumerate(_ids(indices, len(x))):
        y[at] = join(y[at], updates[k])
    return y


def _sum_rows(ids, dy, rows):
    sums = np.zeros((rows, dy.shape[-1]), dy.dtype)
    np.add.at(sums, _ids(ids, rows), dy)
    return sums


def _adamw(*operands, beta1, beta2, eps, weight_decay, decayed):
    *tensors, lr, step, scale, skip = operands
    lr = float(lr)
    step = float(step)
    rate = F(lr / (1 - beta1**step))
    root = F(1 / np.sqrt(1 - beta2**step))
    results = []
    for k in range(len(tensors) // 4):
        param, grad, m, v = tensors[4 * k : 4 * k + 4]
        if skip == 0:
            g = grad * scale
            m = m * F(beta1) + g * F(1 - beta1)
            v = v * F(beta2) + (g * g) * F(1 - beta2)
            decay = weight_decay if decayed is None or k in decayed else 0
            param = param * F(1 - lr * decay) - (m * rate) / (np.sqrt(v) * root + F(eps))
        results += [param, m, v]
    return tuple(results)


def _rope(x, positions, base, interleaved, inverse):
    width = x.shape[-1]
    angle = positions[:, :, None, None] * base ** (-2.0 * np.arange(width // 2) / width) * (-1 if inverse else 1)
    first = slice(0, width, 2) if interleaved else slice(0, width // 2)
    second = slice(1, width, 2) if interleaved else slice(width // 2, width)
    y = np.empty_like(x)
    y[..., first] = x[..., first] * np.cos(angle) - x[..., second] * np.sin(angle)
    y[..., second] = x[..., first] * np.sin(angle) + x[..., second] * np.cos(angle)
    return y


def _top_k(x, k):  # NaN counts for nothing; where elements are wanting, -inf at -1
    pad = [(0, 0)] * (x.ndim - 1) + [(0, k)]
    keys = np.pad(-x, pad, constant_values=np.nan)
    order = np.argsort(keys, axis=-1, kind="stable")[..., :k]
    found = ~np.isnan(np.take_along_axis(keys, order, axis=-1))
    values = np.take_along_axis(np.pad(x, pad), order, axis=-1)
    return np.where(found, values, F("-inf")), np.where(found, order, -1).astype(np.int32)


def _cache_append(cache, added, table, positions):
    block = cache.shape[1]
    at = positions[:, None] + np.arange(added.shape[1])
    if np.any((at < 0) | (at >= table.shape[1] * block)):
        raise IndexError("a position lies outside its table")
    slots = table[np.arange(len(table))[:, None], at // block]
    if np.any((slots < -1) | (slots >= len(cache))):
        raise IndexError("a table names a block that is not there")
    cache = cache.copy()
    cache[slots[slots >= 0], (at % block)[slots >= 0]] = added[slots >= 0]
    return cache

)";
}

}  // namespace floe

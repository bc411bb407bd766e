#include "frontend/onnx_values.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather/gather.h"
#include "ops/infer.h"
#include "ops/iota/iota.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"
#include "ops/softmax/softmax.h"
#include "ops/transpose/transpose.h"

namespace floe {

Value ints(Builder& b, const std::vector<int64_t>& values) {
  Tensor tensor(DType::i64, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.as<int64_t>());
  return b.constant(std::move(tensor));
}

Value size_value(Builder& b, const Dim& size, DType dtype) {
  if (size.is_constant()) return b.scalar(static_cast<double>(size.constant()), dtype);
  return cast(b, reshape(b, iota(b, {1}, 0, size), {}), dtype);
}

Value dims_value(Builder& b, const Dims& dims) {
  if (std::ranges::all_of(dims, &Dim::is_constant)) {
    std::vector<int64_t> numbers;
    for (const Dim& dim : dims) numbers.push_back(dim.constant());
    return ints(b, numbers);
  }
  Values parts;
  for (const Dim& dim : dims) parts.push_back(iota(b, {1}, 0, dim));
  return cast(b, parts.size() == 1 ? parts[0] : concat(b, parts, 0), DType::i64);
}

Value positions(Builder& b, const Dim& n) { return cast(b, iota(b, {n}, 0), DType::i64); }

// The floor, and one more where it lies below a quotient that is negative and not whole.
Value truncated_div(Builder& b, Value x, Value y) {
  const Value q = elementwise(b, "floordiv", {x, y});
  const Value zero = like(b, x, 0);
  if (b.type(x).dtype == DType::u8) return q;
  const Value inexact = elementwise(b, "ne", {elementwise(b, "rem", {x, y}), zero});
  const Value negative =
      elementwise(b, "ne", {elementwise(b, "lt", {x, zero}), elementwise(b, "lt", {y, zero})});
  return select(b, elementwise(b, "logical_and", {inexact, negative}), add(b, q, like(b, x, 1)), q);
}

Value truncate(Builder& b, Value x) {
  const Value down = elementwise(b, "floor", {elementwise(b, "abs", {x})});
  return select(b, elementwise(b, "lt", {x, like(b, x, 0)}), elementwise(b, "neg", {down}), down);
}

Value isnan(Builder& b, Value x) { return elementwise(b, "ne", {x, x}); }

Value clamp(Builder& b, Value x, double low, double high) {
  return elementwise(b, "min", {elementwise(b, "max", {x, like(b, x, low)}), like(b, x, high)});
}

Dims broadcast_of(Builder& b, const std::vector<Type>& types) {
  const InferArgs args{b.graph().ops().get("broadcast"), types, {}, nullptr, b.symbols()};
  return broadcast_dims(args, types);
}

Value move_axis(Builder& b, Value x, int from, int to) {
  if (from == to) return x;
  std::vector<int64_t> perm(static_cast<size_t>(b.type(x).rank()));
  std::iota(perm.begin(), perm.end(), 0);
  perm.erase(perm.begin() + from);
  perm.insert(perm.begin() + to, from);
  return transpose(b, x, std::move(perm));
}

Value softmax_along(Builder& b, Value x, int axis, bool log) {
  const int last = b.type(x).rank() - 1;
  const Value moved = move_axis(b, x, axis, last);
  return move_axis(b, log ? log_softmax(b, moved) : softmax(b, moved), last, axis);
}

namespace {
bool narrow(DType dtype) { return dtype == DType::i8 || dtype == DType::u8 || dtype == DType::boolean; }

template <class F>
Value through_i32(Builder& b, Value x, F f) {
  const DType dtype = b.type(x).dtype;
  return narrow(dtype) ? cast(b, f(cast(b, x, DType::i32)), dtype) : f(x);
}
// Turns the order around, exactly: -x of floats, -1 - x of integers.
Value reversed(Builder& b, Value x) {
  if (is_float(b.type(x).dtype)) return elementwise(b, "neg", {x});
  return sub(b, like(b, x, -1), x);
}
}  // namespace

Value sum_over(Builder& b, Value x, std::vector<int64_t> axes, bool keep) {
  return through_i32(b, x, [&](Value v) { return reduce_sum(b, v, std::move(axes), keep); });
}
Value max_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep) {
  return through_i32(b, x, [&](Value v) { return reduce_max(b, v, axes, keep); });
}
Value min_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep) {
  return through_i32(b, x, [&](Value v) { return reversed(b, reduce_max(b, reversed(b, v), axes, keep)); });
}

Value mean_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep) {
  Dim n(1);
  for (const int64_t axis : axes) n = n * b.type(x).dim(static_cast<int>(axis));
  if (is_float(b.type(x).dtype) && n.is_constant() && n.constant() > 0) {
    // Scaled before it is summed, so that it cannot overflow.
    return reduce_sum(b, scale(b, x, 1.0 / static_cast<double>(n.constant())), axes, keep);
  }
  const Value sum = sum_over(b, x, axes, keep), size = size_value(b, n, b.type(x).dtype);
  return is_float(b.type(x).dtype) ? div(b, sum, size) : truncated_div(b, sum, size);
}

Value arg_over(Builder& b, Value x, int axis, bool largest, bool last, bool keep) {
  if (!largest) x = reversed(b, x);
  const Type type = b.type(x);
  const Value top = max_over(b, x, {axis}, /*keep=*/true);
  Value is_top = elementwise(b, "eq", {x, top});
  if (is_float(type.dtype)) is_top = elementwise(b, "logical_or", {is_top, isnan(b, x)});
  const Dim& n = type.dim(axis);
  Dims along(type.dims.size(), Dim(1));
  along[static_cast<size_t>(axis)] = n;
  const Value at = iota(b, along, axis);
  const Value end = size_value(b, n - Dim(1), DType::i32);
  const Value order = last ? at : sub(b, end, at);
  const Value best = reduce_max(b, select(b, is_top, order, like(b, at, -1)), {axis}, keep);
  return cast(b, last ? best : sub(b, end, best), DType::i64);
}

Value numpy_matmul(Builder& b, Value x, Value y) {
  const auto with_one = [&](Value v, bool first) {
    Dims dims = b.type(v).dims;
    dims.insert(first ? dims.begin() : dims.end(), Dim(1));
    return reshape(b, v, dims);
  };
  if (b.type(x).rank() == 0 || b.type(y).rank() == 0) fail_user("operands must not be of rank 0");
  const bool row = b.type(x).rank() == 1, column = b.type(y).rank() == 1;
  if (row) x = with_one(x, true);
  if (column) y = with_one(y, false);
  Type tx = b.type(x), ty = b.type(y);
  Value out;
  if (!is_float(tx.dtype)) {
    // [..., m, k, 1] * [..., 1, k, n], summed over k
    x = cast(b, x, DType::i32);
    y = cast(b, y, DType::i32);
    Dims wide = ty.dims;
    wide.insert(wide.end() - 2, Dim(1));
    out = mul(b, with_one(x, false), reshape(b, y, wide));
    out = reduce_sum(b, out, {b.type(out).rank() - 2}, /*keep=*/false);
  } else {
    if (ty.rank() > 2 || tx.rank() < 2) {
      const Type bx{tx.dtype, {tx.dims.begin(), tx.dims.end() - 2}},
          by{ty.dtype, {ty.dims.begin(), ty.dims.end() - 2}};
      const Dims batch = broadcast_of(b, {bx, by});
      const auto spread = [&](Value v, const Type& type) {
        Dims dims = batch;
        dims.insert(dims.end(), type.dims.end() - 2, type.dims.end());
        return broadcast(b, v, dims);
      };
      x = spread(x, tx);
      y = spread(y, ty);
    }
    out = matmul(b, x, y);
  }
  Dims dims = b.type(out).dims;
  if (column) dims.pop_back();
  if (row) dims.erase(dims.end() - (column ? 1 : 2));
  return reshape(b, out, dims);
}

Value gather_wrapped(Builder& b, Value x, Value indices, int axis) {
  if (axis >= b.type(x).rank()) fail_user("there is no axis {} of {}", axis, text_of(b.type(x)));
  const Value n = size_value(b, b.type(x).dim(axis), b.type(indices).dtype);
  const Value negative = elementwise(b, "lt", {indices, like(b, indices, 0)});
  return gather(b, x, select(b, negative, add(b, indices, n), indices), axis);
}

// Of the flattened x: the element's place but for the axis, plus index * stride.
Value gather_elements(Builder& b, Value x, Value indices, int axis) {
  const Type tx = b.type(x), ti = b.type(indices);
  if (tx.rank() != ti.rank() || tx.rank() == 0)
    fail_user("operand {} and indices {} must have one rank above 0", text_of(tx), text_of(ti));
  indices = cast(b, indices, DType::i64);
  const Value n = size_value(b, tx.dim(axis), DType::i64), zero = like(b, n, 0);
  Value at = select(b, elementwise(b, "lt", {indices, zero}), add(b, indices, n), indices);
  const Value inside =
      elementwise(b, "logical_and", {elementwise(b, "le", {zero, at}), elementwise(b, "lt", {at, n})});
  Dim stride(1);
  Value place;
  for (int i = tx.rank() - 1; i >= 0; --i) {
    Value along = at;
    if (i != axis) {
      Dims dims(ti.dims.size(), Dim(1));
      dims[static_cast<size_t>(i)] = ti.dim(i);
      along = cast(b, iota(b, dims, i), DType::i64);
    }
    along = mul(b, along, size_value(b, stride, DType::i64));
    place = place ? add(b, place, along) : along;
    stride = stride * tx.dim(i);
  }
  place = select(b, inside, place, like(b, place, -1));  // refused when it runs
  return gather(b, reshape(b, x, {tx.size()}), place, 0);
}

}  // namespace floe

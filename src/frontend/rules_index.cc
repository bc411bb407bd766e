// Elements by index: gathers, scatters, one-hot, the largest.
#include <algorithm>
#include <limits>

#include "frontend/onnx_call.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather/gather.h"
#include "ops/iota/iota.h"
#include "ops/reshape/reshape.h"
#include "ops/scatter/scatter.h"
#include "ops/slice/slice.h"
#include "ops/top_k/top_k.h"

namespace floe {
namespace {

using C = OnnxCall&;

Values gather_rows(C c) {
  return {gather_wrapped(c.b, c.x(0), c.x(1), c.axis(c.integer("axis", 0), c.rank()))};
}
Values gather_each(C c) {
  return {gather_elements(c.b, c.x(0), c.x(1), c.axis(c.integer("axis", 0), c.rank()))};
}

// Row-major places of index vectors [..., k] in dims `first`..`first + k - 1` of x; -1 where one lies
// outside.
Value places(C c, const Dims& dims, Value indices, size_t first) {
  const Type type = c.b.type(indices);
  const int64_t k = c.constant_dim(type.dim(-1), "the length of an index");
  Value place, inside;
  Dim stride(1);
  for (int64_t i = k; i-- > 0;) {
    const Value part = slice(c.b, indices, -1, Dim(i), Dim(1));
    Value at = reshape(c.b, part, {type.dims.begin(), type.dims.end() - 1});
    const Dim& dim = dims[first + static_cast<size_t>(i)];
    const Value n = size_value(c.b, dim, type.dtype), zero = like(c.b, n, 0);
    at = select(c.b, elementwise(c.b, "lt", {at, zero}), add(c.b, at, n), at);
    const Value fits = elementwise(c.b, "logical_and",
                                   {elementwise(c.b, "le", {zero, at}), elementwise(c.b, "lt", {at, n})});
    inside = inside ? elementwise(c.b, "logical_and", {inside, fits}) : fits;
    at = mul(c.b, at, size_value(c.b, stride, type.dtype));
    place = place ? add(c.b, place, at) : at;
    stride = stride * dim;
  }
  if (!place) c.fail("an index has no numbers");
  return select(c.b, inside, place, like(c.b, place, -1));
}

Dims tail(const Dims& dims, size_t from) { return {dims.begin() + static_cast<int64_t>(from), dims.end()}; }

Values gather_nd(C c) {
  const Type x = c.type(0), at = c.type(1);
  const int64_t batch = c.integer("batch_dims", 0);
  if (batch < 0 || batch >= std::min(x.rank(), at.rank())) c.fail("batch_dims {} is too large", batch);
  const auto k = static_cast<size_t>(c.constant_dim(at.dim(-1), "the length of an index"));
  const auto first = static_cast<size_t>(batch);
  if (first + k > x.dims.size()) c.fail("indices of {} numbers for {}", k, text_of(x));
  const Dim rows = product({x.dims.begin(), x.dims.begin() + batch});
  const Dim each = product({x.dims.begin() + batch, x.dims.begin() + batch + static_cast<int64_t>(k)});
  Value place = places(c, x.dims, c.x(1), first);
  if (batch > 0) {
    const Dims dims = c.b.type(place).dims;
    Dims ones(dims.size(), Dim(1));
    for (size_t i = 0; i < first; ++i) ones[i] = dims[i];
    const Value row = cast(c.b, reshape(c.b, iota(c.b, {rows}, 0), ones), at.dtype);
    const Value outside = elementwise(c.b, "lt", {place, like(c.b, place, 0)});
    const Value moved = add(c.b, place, mul(c.b, row, size_value(c.b, each, at.dtype)));
    place = select(c.b, outside, like(c.b, place, -1), moved);
  }
  Dims flat{rows * each};
  const Dims rest = tail(x.dims, first + k);
  flat.insert(flat.end(), rest.begin(), rest.end());
  return {gather(c.b, reshape(c.b, c.x(0), flat), place, 0)};
}

Values scatter_nd(C c) {
  const Type x = c.type(0), at = c.type(1);
  if (at.rank() == 0) c.fail("indices have no dims");
  const auto k = static_cast<size_t>(c.constant_dim(at.dim(-1), "the length of an index"));
  if (k > x.dims.size()) c.fail("indices of {} numbers for {}", k, text_of(x));
  const Value place = places(c, x.dims, c.x(1), 0);
  const Dim n = c.b.type(place).size();
  const Dims rest = tail(x.dims, k);
  const auto rows = [&](const Dim& count) {
    Dims dims{count};
    dims.insert(dims.end(), rest.begin(), rest.end());
    return dims;
  };
  const Dim all = product({x.dims.begin(), x.dims.begin() + static_cast<int64_t>(k)});
  const Value out = scatter(c.b, reshape(c.b, c.x(0), rows(all)), reshape(c.b, place, {n}),
                            reshape(c.b, c.x(2), rows(n)), c.text("reduction", "none"));
  return {reshape(c.b, out, x.dims)};
}

Values scatter_elements(C c) {
  const Type x = c.type(0), at = c.type(1);
  const int axis = c.axis(c.integer("axis", 0), x.rank());
  if (at.rank() != x.rank()) c.fail("operand {} and indices {} must have one rank", text_of(x), text_of(at));
  Value index = reshape(c.b, c.x(1), [&] {
    Dims dims = at.dims;
    dims.emplace_back(1);
    return dims;
  }());
  Values coordinates;
  for (int i = 0; i < x.rank(); ++i) {
    if (i == axis) {
      coordinates.push_back(index);
      continue;
    }
    Dims dims(at.dims.size() + 1, Dim(1));
    dims[static_cast<size_t>(i)] = at.dim(i);
    coordinates.push_back(broadcast(c.b, cast(c.b, iota(c.b, dims, i), at.dtype), c.b.type(index).dims));
  }
  const Value vectors = coordinates.size() == 1 ? index : concat(c.b, coordinates, x.rank());
  const Value place = places(c, x.dims, vectors, 0);
  const Value out = scatter(c.b, reshape(c.b, c.x(0), {x.size()}), reshape(c.b, place, {at.size()}),
                            reshape(c.b, c.x(2), {at.size()}), c.text("reduction", "none"));
  return {reshape(c.b, out, x.dims)};
}

// cache [B, ..., n, ...] with `update` from write_indices[b] on along the axis.
Values tensor_scatter(C c) {
  const Type cache = c.type(0), update = c.type(1);
  const int axis = c.axis(c.integer("axis", -2), cache.rank());
  if (axis == 0 || update.rank() != cache.rank())
    c.fail("axis {} of {} and {}", axis, text_of(cache), text_of(update));
  const Dim &n = cache.dim(axis), &length = update.dim(axis), &batch = cache.dim(0);
  const Value begin =
      c.has(2) ? cast(c.b, c.in[2], DType::i64) : broadcast(c.b, c.b.scalar(0, DType::i64), {batch});
  Value at = add(c.b, reshape(c.b, begin, {batch, Dim(1)}), positions(c.b, length));  // [B, length]
  const Value size = size_value(c.b, n, DType::i64);
  if (c.text("mode", "linear") == "circular") at = elementwise(c.b, "rem", {at, size});
  const Value outside =
      elementwise(c.b, "logical_or",
                  {elementwise(c.b, "lt", {at, like(c.b, at, 0)}), elementwise(c.b, "le", {size, at})});
  // Rows [B, between, n] of what lies behind the axis.
  const Dim between = product({cache.dims.begin() + 1, cache.dims.begin() + axis});
  const Dim behind = product(tail(cache.dims, static_cast<size_t>(axis) + 1));
  const Value row =
      cast(c.b, reshape(c.b, iota(c.b, {batch * between}, 0), {batch, between, Dim(1)}), DType::i64);
  const Value along = reshape(c.b, select(c.b, outside, like(c.b, at, -1), at), {batch, Dim(1), length});
  const Value place = select(c.b, elementwise(c.b, "lt", {along, like(c.b, along, 0)}), like(c.b, row, -1),
                             add(c.b, mul(c.b, row, size), along));
  const Dim rows = batch * between * length;
  const Value out = scatter(c.b, reshape(c.b, c.x(0), {batch * between * n, behind}),
                            reshape(c.b, place, {rows}), reshape(c.b, c.x(1), {rows, behind}), "none");
  return {reshape(c.b, out, cache.dims)};
}

Values one_hot(C c) {
  const double depth = c.scalar(c.x(1), "the depth");
  if (!(depth >= 1 && depth <= 1e9)) c.fail("depth {} is no size", depth);
  const Dim n(static_cast<int64_t>(depth));
  const Type at = c.type(0);
  const int axis = c.axis(c.integer("axis", -1), at.rank() + 1);
  Dims with_one = at.dims, along(at.dims.size() + 1, Dim(1));
  with_one.insert(with_one.begin() + axis, Dim(1));
  along[static_cast<size_t>(axis)] = n;
  Value index = cast(c.b, c.x(0), DType::i64);
  index = select(c.b, elementwise(c.b, "lt", {index, like(c.b, index, 0)}),
                 add(c.b, index, size_value(c.b, n, DType::i64)), index);
  const Value hit =
      elementwise(c.b, "eq", {reshape(c.b, index, with_one), cast(c.b, iota(c.b, along, axis), DType::i64)});
  const auto value = [&](int64_t k) { return reshape(c.b, slice(c.b, c.x(2), 0, Dim(k), Dim(1)), {}); };
  return {select(c.b, hit, value(1), value(0))};
}

template <bool kLargest>
Values arg(C c) {
  const int axis = c.axis(c.integer("axis", 0), c.rank());
  return {arg_over(c.b, c.x(), axis, kLargest, c.integer("select_last_index", 0) != 0,
                   c.integer("keepdims", 1) != 0)};
}

Values hardmax(C c) {
  Value x = c.x();
  const Dims dims = c.type().dims;
  int axis = c.axis(c.integer("axis", c.opset < 13 ? 1 : -1), c.rank());
  if (c.opset < 13) {
    x = reshape(c.b, x,
                {product({dims.begin(), dims.begin() + axis}), product({dims.begin() + axis, dims.end()})});
    axis = 1;
  }
  const Value best = arg_over(c.b, x, axis, true, false, /*keep=*/true);
  Dims along(c.b.type(x).dims.size(), Dim(1));
  along[static_cast<size_t>(axis)] = c.b.type(x).dim(axis);
  const Value hit = elementwise(c.b, "eq", {cast(c.b, iota(c.b, along, axis), DType::i64), best});
  return {reshape(c.b, cast(c.b, hit, c.type().dtype), dims)};
}

// Of i32 and i64, which f32 does not tell apart: the largest k times over, what was taken lowered to the
// least i64.
Value top_places(C c, Value keys, int64_t k, bool largest) {
  constexpr int64_t kMost = 64;
  if (k > kMost) c.fail("k = {} of {}; at most {} of such integers", k, name_of(c.type().dtype), kMost);
  Builder& b = c.b;
  keys = cast(b, keys, DType::i64);
  if (!largest) keys = sub(b, like(b, keys, -1), keys);
  const int last = b.type(keys).rank() - 1;
  Tensor least(DType::i64, {});
  *least.as<int64_t>() = std::numeric_limits<int64_t>::min();
  const Value taken = b.constant(std::move(least)), at = positions(b, b.type(keys).dim(last));
  Values places;
  for (int64_t i = 0; i < k; ++i) {
    places.push_back(arg_over(b, keys, last, true, false, /*keep=*/true));
    keys = select(b, elementwise(b, "eq", {at, places.back()}), taken, keys);
  }
  return places.size() == 1 ? places[0] : concat(b, places, last);
}

Values top(C c) {
  const Type type = c.type();
  const int axis = c.axis(c.integer("axis", -1), type.rank());
  const int64_t k = c.has(1) ? c.one(c.in[1], "k") : c.integer("k", 0);
  if (k < 1) c.fail("k must be at least 1, is {}", k);
  if (type.dim(axis).is_constant() && k > type.dim(axis).constant())
    c.fail("k = {} of {}", k, type.dim(axis).text());
  const bool largest = c.integer("largest", 1) != 0;
  const int last = type.rank() - 1;
  const Value moved = move_axis(c.b, c.x(), axis, last);
  Value indices;
  if (type.dtype == DType::i32 || type.dtype == DType::i64) {
    indices = top_places(c, moved, k, largest);
  } else {
    Value keys = is_float(type.dtype) ? moved : cast(c.b, moved, DType::f32);
    if (!largest) keys = elementwise(c.b, "neg", {keys});
    indices = cast(c.b, top_k(c.b, keys, k).indices, DType::i64);
  }
  const Value values = gather_elements(c.b, moved, indices, last);
  return {move_axis(c.b, values, last, axis), move_axis(c.b, indices, last, axis)};
}

}  // namespace

void add_onnx_index(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Gather", gather_rows},
      {"GatherElements", gather_each},
      {"GatherND", gather_nd},
      {"ScatterND", scatter_nd},
      {"ScatterElements", scatter_elements},
      {"Scatter", scatter_elements},
      {"TensorScatter", tensor_scatter},
      {"OneHot", one_hot},
      {"ArgMax", arg<true>},
      {"ArgMin", arg<false>},
      {"Hardmax", hardmax},
      {"TopK", top},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

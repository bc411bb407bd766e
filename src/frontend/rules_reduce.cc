// Reductions and running sums.
#include <limits>
#include <numeric>

#include "frontend/onnx_call.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather/gather.h"
#include "ops/iota/iota.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"

namespace floe {
namespace {

using C = OnnxCall&;
using Axes = std::vector<int64_t>;

Value fn(C c, const char* name, Value x) { return elementwise(c.b, name, {x}); }

// The product along one axis by halves: log2(n) multiplications.
Value product_along(C c, Value x, int axis) {
  int64_t n = c.constant_dim(c.b.type(x).dim(axis), "the length of a product");
  if (n == 0) {
    Dims dims = c.b.type(x).dims;
    dims[static_cast<size_t>(axis)] = Dim(1);
    return broadcast(c.b, like(c.b, x, 1), dims);
  }
  while (n > 1) {
    const int64_t half = n / 2;
    const auto part = [&](int64_t begin, int64_t length) {
      return slice(c.b, x, axis, Dim(begin), Dim(length));
    };
    const Value pairs = mul(c.b, part(0, half), part(half, half));
    x = n % 2 == 0 ? pairs : concat(c.b, {pairs, part(n - 1, 1)}, axis);
    n -= half;
  }
  return x;
}

Value prod(C c, Value x, const Axes& axes, bool keep) {
  for (const int64_t axis : axes) x = product_along(c, x, static_cast<int>(axis));
  if (keep) return x;
  Dims dims;
  for (int i = 0; i < c.b.type(x).rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) dims.push_back(c.b.type(x).dim(i));
  }
  return reshape(c.b, x, dims);
}

Value square(C c, Value x) { return mul(c.b, x, x); }

// m + log sum e^(x - m), where an infinite m is left out of the difference.
Value log_sum_exp(C c, Value x, const Axes& axes, bool keep) {
  const Value top = max_over(c.b, x, axes, true);
  const Value infinite =
      elementwise(c.b, "eq", {fn(c, "abs", top), like(c.b, top, std::numeric_limits<double>::infinity())});
  const Value shift = select(c.b, infinite, like(c.b, top, 0), top);
  const Value sum = sum_over(c.b, fn(c, "exp", sub(c.b, x, shift)), axes, true);
  const Value out = add(c.b, fn(c, "log", sum), shift);
  if (keep) return out;
  Dims dims;
  for (int i = 0; i < c.b.type(x).rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) dims.push_back(c.b.type(x).dim(i));
  }
  return reshape(c.b, out, dims);
}

using Reduction = Value (*)(C, Value, const Axes&, bool);

template <Reduction kReduce>
Values reduce(C c) {
  const auto given = c.axes(1, "axes");
  Axes axes;
  if (given && !given->empty()) {
    for (const int64_t axis : *given) axes.push_back(c.axis(axis, c.rank()));
  } else if (c.integer("noop_with_empty_axes", 0) == 0) {
    axes.resize(static_cast<size_t>(c.rank()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  return {kReduce(c, c.x(), axes, c.integer("keepdims", 1) != 0)};
}

Value sum(C c, Value x, const Axes& axes, bool keep) { return sum_over(c.b, x, axes, keep); }
Value mean(C c, Value x, const Axes& axes, bool keep) { return mean_over(c.b, x, axes, keep); }
Value max(C c, Value x, const Axes& axes, bool keep) { return max_over(c.b, x, axes, keep); }
Value min(C c, Value x, const Axes& axes, bool keep) { return min_over(c.b, x, axes, keep); }
Value l1(C c, Value x, const Axes& axes, bool keep) { return sum(c, fn(c, "abs", x), axes, keep); }
Value sum_square(C c, Value x, const Axes& axes, bool keep) { return sum(c, square(c, x), axes, keep); }
Value l2(C c, Value x, const Axes& axes, bool keep) {
  const DType dtype = c.b.type(x).dtype;
  const Value wide = is_float(dtype) ? x : cast(c.b, x, DType::f32);
  return cast(c.b, fn(c, "sqrt", sum_square(c, wide, axes, keep)), dtype);
}
Value log_sum(C c, Value x, const Axes& axes, bool keep) { return fn(c, "log", sum(c, x, axes, keep)); }

// Hillis and Steele's scan ("Data parallel algorithms", 1986): after step s an element holds what the 2^s
// before it gave.
template <bool kSum>
Values cumulate(C c) {
  const int axis = c.axis(c.one(c.x(1), "the axis"), c.rank());
  const int64_t n = c.constant_dim(c.type().dim(axis), "the length of a running sum");
  Value x = c.x();
  if (n == 0) return {x};
  const bool back = c.integer("reverse", 0) != 0;
  const auto shifted = [&](Value v, int64_t by) {
    Dims dims = c.type().dims;
    dims[static_cast<size_t>(axis)] = Dim(by);
    const Value fill = broadcast(c.b, like(c.b, v, kSum ? 0 : 1), dims);
    const Value rest = slice(c.b, v, axis, Dim(back ? by : 0), Dim(n - by));
    return concat(c.b, back ? Values{rest, fill} : Values{fill, rest}, axis);
  };
  if (c.integer("exclusive", 0) != 0) x = shifted(x, 1);
  for (int64_t by = 1; by < n; by *= 2) x = elementwise(c.b, kSum ? "add" : "mul", {x, shifted(x, by)});
  return {x};
}

}  // namespace

void add_onnx_reduce(OnnxRules& rules) {
  const OnnxRules mine = {
      {"ReduceSum", reduce<sum>},        {"ReduceMean", reduce<mean>},
      {"ReduceMax", reduce<max>},        {"ReduceMin", reduce<min>},
      {"ReduceProd", reduce<prod>},      {"ReduceL1", reduce<l1>},
      {"ReduceL2", reduce<l2>},          {"ReduceSumSquare", reduce<sum_square>},
      {"ReduceLogSum", reduce<log_sum>}, {"ReduceLogSumExp", reduce<log_sum_exp>},
      {"CumSum", cumulate<true>},        {"CumProd", cumulate<false>},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

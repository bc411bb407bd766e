// Softmax and norms.
#include <numeric>

#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/reshape/reshape.h"
#include "ops/rms_norm/rms_norm.h"

namespace floe {
namespace {

using C = OnnxCall&;

// Below opset 13 over all dims from the axis on together.
template <bool kLog>
Values softmax(C c) {
  const Dims dims = c.type().dims;
  const int axis = c.axis(c.integer("axis", c.opset < 13 ? 1 : -1), c.rank());
  if (c.opset >= 13) return {softmax_along(c.b, c.x(), axis, kLog)};
  const Value flat = reshape(
      c.b, c.x(), {product({dims.begin(), dims.begin() + axis}), product({dims.begin() + axis, dims.end()})});
  return {reshape(c.b, softmax_along(c.b, flat, 1, kLog), dims)};
}

std::vector<int64_t> axes_from(int first, int rank) {
  std::vector<int64_t> axes(static_cast<size_t>(rank - first));
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}

struct Moments {
  Value mean, rate;  // 1 / sqrt(variance + eps)
  Value normalized;
};
Moments normalize(Builder& b, Value x, const std::vector<int64_t>& axes, double eps) {
  const Value mean = mean_over(b, x, axes, /*keep=*/true);
  const Value centred = sub(b, x, mean);
  const Value variance = mean_over(b, mul(b, centred, centred), axes, /*keep=*/true);
  const Value rate = elementwise(b, "rsqrt", {add(b, variance, like(b, variance, eps))});
  return {mean, rate, mul(b, centred, rate)};
}

Dims tail(const Dims& dims, int axis) { return {dims.begin() + axis, dims.end()}; }

// Norms of the dims from an axis on are one of a last dim of their product.
Value as_rows(C c, Value x, int axis) {
  const Dims& dims = c.b.type(x).dims;
  return reshape(c.b, x, {product({dims.begin(), dims.begin() + axis}), product(tail(dims, axis))});
}
Value as_row(C c, Value gamma, const Dims& dims) {
  return reshape(c.b, broadcast(c.b, gamma, dims), {product(dims)});
}

Values layer_normalization(C c) {
  const Type type = c.type();
  const int axis = c.axis(c.integer("axis", -1), type.rank());
  const double eps = c.number("epsilon", 1e-5);
  const Dims normed = tail(type.dims, axis);
  const DType wide = dtype_of_onnx(static_cast<int32_t>(c.integer("stash_type", 1)));
  Moments moments;
  if (c.wants(1) || c.wants(2) || !product(normed).is_constant() || product(normed) == Dim(0)) {
    moments = normalize(c.b, cast(c.b, c.x(0), wide), axes_from(axis, type.rank()), eps);
  }
  Value y;
  if (product(normed).is_constant() && product(normed) != Dim(0)) {
    const Value gamma = as_row(c, c.x(1), normed);
    const Value beta =
        c.has(2) ? as_row(c, c.in[2], normed) : broadcast(c.b, like(c.b, gamma, 0), {product(normed)});
    y = reshape(c.b, layer_norm(c.b, as_rows(c, c.x(0), axis), gamma, beta, eps), type.dims);
  } else {
    y = mul(c.b, cast(c.b, moments.normalized, type.dtype), c.x(1));
    if (c.has(2)) y = add(c.b, y, c.in[2]);
  }
  return {y, moments.mean, moments.rate};
}

Values rms_normalization(C c) {
  const Type type = c.type();
  const int axis = c.axis(c.integer("axis", -1), type.rank());
  const double eps = c.number("epsilon", 1e-5);
  const Dims normed = tail(type.dims, axis);
  if (product(normed).is_constant() && product(normed) != Dim(0)) {
    const Value gamma = as_row(c, cast(c.b, c.x(1), type.dtype), normed);
    return {reshape(c.b, rms_norm(c.b, as_rows(c, c.x(0), axis), gamma, eps), type.dims)};
  }
  const Value x = cast(c.b, c.x(0), DType::f32);
  const Value mean = mean_over(c.b, mul(c.b, x, x), axes_from(axis, type.rank()), /*keep=*/true);
  const Value rate = elementwise(c.b, "rsqrt", {add(c.b, mean, like(c.b, mean, eps))});
  return {mul(c.b, cast(c.b, mul(c.b, x, rate), type.dtype), c.x(1))};
}

// [C] or [G] beside x [N, C, ...]
Value per_channel(C c, Value v, int rank) {
  c.want_rank(v, 1, "a value for each channel");
  Dims dims(static_cast<size_t>(rank), Dim(1));
  dims[1] = c.b.type(v).dim(0);
  return reshape(c.b, v, dims);
}

Values batch_normalization(C c) {
  if (c.integer("training_mode", 0) != 0) c.fail("training_mode is not supported");
  const int rank = c.rank();
  if (rank < 2) c.fail("the operand must have rank 2 or more, is {}", text_of(c.type()));
  const auto of = [&](size_t i) { return per_channel(c, cast(c.b, c.x(i), c.type().dtype), rank); };
  const Value variance = of(4);
  const Value rate =
      elementwise(c.b, "rsqrt", {add(c.b, variance, like(c.b, variance, c.number("epsilon", 1e-5)))});
  return {add(c.b, mul(c.b, sub(c.b, c.x(0), of(3)), mul(c.b, rate, of(1))), of(2))};
}

Values instance_normalization(C c) {
  const int rank = c.rank();
  if (rank < 3) c.fail("the operand must have rank 3 or more, is {}", text_of(c.type()));
  const Value y = normalize(c.b, c.x(0), axes_from(2, rank), c.number("epsilon", 1e-5)).normalized;
  return {add(c.b, mul(c.b, y, per_channel(c, c.x(1), rank)), per_channel(c, c.x(2), rank))};
}

Values group_normalization(C c) {
  const Type type = c.type();
  const int64_t groups = c.integer("num_groups", 0);
  if (groups < 1 || type.rank() < 3) c.fail("num_groups {} of {}", groups, text_of(type));
  const Dim each = floor_div(type.dim(1), Dim(groups));
  if (!c.b.symbols().decide_equal(each * Dim(groups), type.dim(1), "GroupNormalization"))
    c.fail("{} channels in {} groups", type.dim(1).text(), groups);
  const Value grouped = reshape(c.b, c.x(0), {type.dim(0), Dim(groups), each * product(tail(type.dims, 2))});
  const Value y = reshape(c.b, normalize(c.b, grouped, {2}, c.number("epsilon", 1e-5)).normalized, type.dims);
  const auto of = [&](size_t i) {
    Value v = c.x(i);
    if (c.opset < 21) {  // one for each group
      v = reshape(c.b, broadcast(c.b, reshape(c.b, v, {Dim(groups), Dim(1)}), {Dim(groups), each}),
                  {type.dim(1)});
    }
    return per_channel(c, v, type.rank());
  };
  return {add(c.b, mul(c.b, y, of(1)), of(2))};
}

Values mean_variance_normalization(C c) {
  std::vector<int64_t> axes;
  for (const int64_t axis : c.integers("axes").value_or(std::vector<int64_t>{0, 2, 3}))
    axes.push_back(c.axis(axis, c.rank()));
  const Value mean = mean_over(c.b, c.x(), axes, true), centred = sub(c.b, c.x(), mean);
  const Value deviation = elementwise(c.b, "sqrt", {mean_over(c.b, mul(c.b, centred, centred), axes, true)});
  return {div(c.b, centred, add(c.b, deviation, like(c.b, deviation, 1e-9)))};
}

}  // namespace

void add_onnx_norm(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Softmax", softmax<false>},
      {"LogSoftmax", softmax<true>},
      {"LayerNormalization", layer_normalization},
      {"RMSNormalization", rms_normalization},
      {"BatchNormalization", batch_normalization},
      {"InstanceNormalization", instance_normalization},
      {"GroupNormalization", group_normalization},
      {"MeanVarianceNormalization", mean_variance_normalization},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

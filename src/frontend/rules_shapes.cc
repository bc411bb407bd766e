// Shapes and constants, and what only changes dims.
#include <algorithm>
#include <cmath>

#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

using C = OnnxCall&;

Values shape(C c) {
  const Dims& dims = c.type().dims;
  const auto n = static_cast<int64_t>(dims.size());
  const auto place = [&](const char* name, int64_t otherwise) {
    const int64_t at = c.integer(name, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + n : at, 0, n);
  };
  const int64_t begin = place("start", 0), end = std::max(begin, place("end", n));
  return {dims_value(c.b, {dims.begin() + begin, dims.begin() + end})};
}
Values size(C c) { return {size_value(c.b, c.type().size(), DType::i64)}; }

Values constant(C c) {
  if (c.node.attributes.size() != 1)
    c.fail("has {} attributes instead of one value", c.node.attributes.size());
  const OnnxAttribute* value = c.attribute(c.node.attributes[0].name);
  if (value == nullptr) c.fail("has no value");
  const auto n = [](const auto& list) { return Shape{static_cast<int64_t>(list.size())}; };
  switch (value->kind) {
    case OnnxAttribute::Kind::t:
      return {c.b.constant(tensor_of_onnx(*value->t, c.folder))};
    case OnnxAttribute::Kind::f:
      return {c.b.scalar(static_cast<double>(value->f))};
    case OnnxAttribute::Kind::i: {
      Tensor one(DType::i64, {});
      *one.as<int64_t>() = value->i;
      return {c.b.constant(std::move(one))};
    }
    case OnnxAttribute::Kind::floats:
      return {c.b.constant(Tensor::from_floats(n(value->floats), value->floats))};
    case OnnxAttribute::Kind::ints:
      return {ints(c.b, value->ints)};
    default:
      c.fail("'{}' holds no numbers", value->name);
  }
}

Values constant_of_shape(C c) {
  Tensor value(DType::f32, {});
  if (const OnnxAttribute* given = c.attribute("value"); given != nullptr) {
    if (given->kind != OnnxAttribute::Kind::t) c.fail("attribute 'value' is no tensor");
    value = tensor_of_onnx(*given->t, c.folder);
    if (value.size() != 1) c.fail("attribute 'value' has {} elements instead of one", value.size());
  }
  const Dims dims = c.dims(c.x(), "the shape");
  for (const Dim& dim : dims) {
    if (dim.is_constant() && dim.constant() < 0) c.fail("the shape {} has a negative dim", text_of(dims));
  }
  return {broadcast(c.b, reshape(c.b, c.b.constant(std::move(value)), {}), dims)};
}

// start, start + delta, ...: their number must be known.
Values range(C c) {
  const DType dtype = c.type().dtype;
  const auto numbers = [&](size_t i) { return c.known.dims(c.x(i)); };
  Dim n;
  if (is_float(dtype)) {
    const double start = c.scalar(c.x(0), "start"), limit = c.scalar(c.x(1), "limit"),
                 delta = c.scalar(c.x(2), "delta");
    const double steps = std::ceil((limit - start) / delta);
    if (!(steps <= 1e9)) c.fail("range of {} to {} by {} has no end", start, limit, delta);
    n = Dim(static_cast<int64_t>(std::max(steps, 0.0)));
  } else {
    const std::optional<Dims> start = numbers(0), limit = numbers(1), delta = numbers(2);
    if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 || delta->size() != 1)
      c.fail("start, limit and delta must follow from constants and shapes");
    const int64_t by = c.constant_dim((*delta)[0], "delta");
    if (by == 0 || by <= -(1LL << 31) || by >= 1LL << 31) c.fail("a delta of {}", by);
    const Dim length = by > 0 ? (*limit)[0] - (*start)[0] : (*start)[0] - (*limit)[0];
    if (length.is_constant()) {
      const int64_t step = std::abs(by), whole = length.constant();
      n = Dim(whole <= 0 ? 0 : (whole + step - 1) / step);
    } else {
      if (std::abs(by) != 1)
        n = floor_div(length + Dim(std::abs(by) - 1), Dim(std::abs(by)));
      else
        n = length;
    }
  }
  const Value steps = cast(c.b, positions(c.b, n), dtype);
  const Value start = reshape(c.b, c.x(0), {}), delta = reshape(c.b, c.x(2), {});
  return {add(c.b, start, mul(c.b, steps, delta))};
}

Values reshape_to(C c) {
  const Dims& from = c.type().dims;
  Dims dims = c.has(1) || c.attribute("shape") == nullptr ? c.dims(c.x(1), "the shape") : Dims{};
  if (!c.has(1)) {
    for (const int64_t dim : c.integers("shape").value_or(std::vector<int64_t>{})) dims.emplace_back(dim);
  }
  const bool allow_zero = c.integer("allowzero", 0) != 0;
  size_t open = dims.size();
  Dim rest(1);
  for (size_t k = 0; k < dims.size(); ++k) {
    if (dims[k] == Dim(0) && !allow_zero) {
      if (k >= from.size()) c.fail("dim {} of the shape is 0, the operand is {}", k, text_of(c.type()));
      dims[k] = from[k];
    }
    if (dims[k] == Dim(-1)) {
      if (open < dims.size()) c.fail("the shape {} has two dims of -1", text_of(dims));
      open = k;
      continue;
    }
    if (dims[k].is_constant() && dims[k].constant() < 0)
      c.fail("the shape {} has a negative dim", text_of(dims));
    rest = rest * dims[k];
  }
  if (open < dims.size()) {
    // What both have is left out of the quotient, so that [B, 0, 4] to [B, -1] has an answer.
    if (rest == Dim(0)) c.fail("the shape has a dim of 0 beside one of -1");
    dims[open] = floor_div(c.type().size(), rest);
  }
  return {reshape(c.b, c.x(), dims)};
}

std::vector<int64_t> normal(C c, const std::vector<int64_t>& axes, int rank) {
  std::vector<int64_t> out;
  for (const int64_t axis : axes) out.push_back(c.axis(axis, rank));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    c.fail("axis {} is named twice", text_of(axes));
  return out;
}

Values squeeze(C c) {
  const Dims& from = c.type().dims;
  const auto axes = c.axes(1, "axes");
  std::vector<bool> drop(from.size(), false);
  if (axes) {
    for (const int64_t axis : normal(c, *axes, c.rank())) {
      if (from[static_cast<size_t>(axis)] != Dim(1)) c.fail("dim {} of {} is not 1", axis, text_of(c.type()));
      drop[static_cast<size_t>(axis)] = true;
    }
  } else {
    for (size_t k = 0; k < from.size(); ++k) drop[k] = from[k] == Dim(1);
  }
  Dims dims;
  for (size_t k = 0; k < from.size(); ++k) {
    if (!drop[k]) dims.push_back(from[k]);
  }
  return {reshape(c.b, c.x(), dims)};
}

Values unsqueeze(C c) {
  const auto axes = c.axes(1, "axes");
  if (!axes) c.fail("has no axes");
  Dims dims = c.type().dims;
  for (const int64_t axis : normal(c, *axes, c.rank() + static_cast<int>(axes->size())))
    dims.insert(dims.begin() + axis, Dim(1));
  return {reshape(c.b, c.x(), dims)};
}

Values flatten(C c) {
  const Dims& dims = c.type().dims;
  int64_t axis = c.integer("axis", 1);
  if (axis < 0) axis += c.rank();
  if (axis < 0 || axis > c.rank()) c.fail("axis {} is outside rank {}", axis, c.rank());
  return {
      reshape(c.b, c.x(),
              {product({dims.begin(), dims.begin() + axis}), product({dims.begin() + axis, dims.end()})})};
}

// Both broadcast to each other.
Values expand(C c) {
  const Type wanted{c.type().dtype, c.dims(c.x(1), "the shape")};
  for (const Dim& dim : wanted.dims) {
    if (dim.is_constant() && dim.constant() < 0)
      c.fail("the shape {} has a negative dim", text_of(wanted.dims));
  }
  return {broadcast(c.b, c.x(), broadcast_of(c.b, {c.type(), wanted}))};
}

}  // namespace

void add_onnx_shapes(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Shape", shape},       {"Size", size},
      {"Constant", constant}, {"ConstantOfShape", constant_of_shape},
      {"Range", range},       {"Reshape", reshape_to},
      {"Squeeze", squeeze},   {"Unsqueeze", unsqueeze},
      {"Flatten", flatten},   {"Expand", expand},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

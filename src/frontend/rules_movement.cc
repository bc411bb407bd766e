// Elements taken elsewhere: transposes, parts, joins, repetition, padding.
#include <algorithm>
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
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

using C = OnnxCall&;

Values transpose_by(C c) {
  std::vector<int64_t> perm(static_cast<size_t>(c.rank()));
  std::iota(perm.rbegin(), perm.rend(), 0);
  return {transpose(c.b, c.x(), c.integers("perm").value_or(perm))};
}

Values concat_all(C c) {
  Values parts;
  for (size_t k = 0; k < c.in.size(); ++k) parts.push_back(c.x(k));
  const int axis = c.axis(c.integer("axis", 0), c.rank());
  return {parts.size() == 1 ? parts[0] : concat(c.b, parts, axis)};
}

Values split(C c) {
  const int axis = c.axis(c.integer("axis", 0), c.rank());
  const Dim whole = c.type().dim(axis);
  Dims lengths;
  if (c.has(1)) {
    lengths = c.dims(c.in[1], "the lengths");
  } else if (const auto given = c.integers("split"); given) {
    lengths.assign(given->begin(), given->end());
  } else {
    const auto n = static_cast<int64_t>(c.node.outputs.size());
    if (c.integer("num_outputs", n) != n) c.fail("num_outputs is not the number of outputs, {}", n);
    const Dim each = floor_div(whole + Dim(n - 1), Dim(n));
    for (int64_t k = 0; k + 1 < n; ++k) lengths.push_back(each);
    lengths.push_back(whole - Dim(n - 1) * each);
  }
  if (lengths.size() != c.node.outputs.size())
    c.fail("{} lengths for {} outputs", lengths.size(), c.node.outputs.size());
  Values parts;
  Dim begin(0);
  for (const Dim& length : lengths) {
    parts.push_back(slice(c.b, c.x(), axis, begin, length));
    begin = begin + length;
  }
  if (!c.b.symbols().decide_equal(begin, whole, "Split"))
    c.fail("the parts add up to {}, dim {} is {}", begin.text(), axis, whole.text());
  return parts;
}

// `at` counted from the end if negative, then within 0..n, for steps back within -1..n - 1.
Dim place(C c, const Dim& at, const Dim& n, bool back) {
  const SymbolTable& symbols = c.b.symbols();
  Dim from = at;
  constexpr int64_t kHuge =
      std::numeric_limits<int32_t>::max();  // "as far as it goes", as it is often written
  const bool huge = at.is_constant() && (at.constant() >= kHuge || at.constant() <= -kHuge);
  if (huge) return at.constant() < 0 ? Dim(back ? -1 : 0) : n - Dim(back ? 1 : 0);
  if (at.is_constant() ? at.constant() < 0 : symbols.less_equal(Dim(0), at) == Known::no) from = n + at;
  Dim low(back ? -1 : 0), high = n - Dim(back ? 1 : 0);
  if (!c.assume_less_equal(low, from, "a place in a slice")) return low;
  if (!c.assume_less_equal(from, high, "a place in a slice")) return high;
  return from;
}

Values slice_all(C c) {
  Dims starts, ends, steps;
  std::vector<int64_t> axes;
  if (c.in.size() > 1) {
    starts = c.dims(c.x(1), "starts");
    ends = c.dims(c.x(2), "ends");
    if (c.has(4)) steps = c.dims(c.in[4], "steps");
  } else {
    for (const int64_t at : c.integers("starts").value_or(std::vector<int64_t>{})) starts.emplace_back(at);
    for (const int64_t at : c.integers("ends").value_or(std::vector<int64_t>{})) ends.emplace_back(at);
  }
  if (const auto given = c.axes(3, "axes"); given) {
    axes = *given;
  } else {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  if (steps.empty()) steps.assign(starts.size(), Dim(1));
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    c.fail("{} starts, {} ends, {} axes, {} steps", starts.size(), ends.size(), axes.size(), steps.size());
  Value x = c.x();
  for (size_t k = 0; k < starts.size(); ++k) {
    const int axis = c.axis(axes[k], c.rank());
    const Dim n = c.b.type(x).dim(axis);
    const int64_t step = c.constant_dim(steps[k], "a step");
    if (step == 0 || step <= -(1LL << 31) || step >= 1LL << 31) c.fail("a step of {}", step);
    const Dim begin = place(c, starts[k], n, step < 0), end = place(c, ends[k], n, step < 0);
    Dim length = step > 0 ? end - begin : begin - end;
    if (c.b.symbols().less_equal(length, Dim(0)) == Known::yes) length = Dim(0);
    if (step == 1) {
      x = slice(c.b, x, axis, length == Dim(0) ? Dim(0) : begin, length);
      continue;
    }
    const Dim count = floor_div(length + Dim(std::abs(step) - 1), Dim(std::abs(step)));
    const Value at = add(c.b, scale(c.b, iota(c.b, {count}, 0), static_cast<double>(step)),
                         size_value(c.b, begin, DType::i32));
    x = gather(c.b, x, at, axis);
  }
  return {x};
}

Values tile(C c) {
  const Dims repeats = c.dims(c.x(1), "the repeats");
  const Dims& from = c.type().dims;
  for (const Dim& n : repeats) {
    if (n.is_constant() && n.constant() < 0) c.fail("{} repeats", n.constant());
  }
  if (repeats.size() != from.size()) c.fail("{} repeats for {}", repeats.size(), text_of(c.type()));
  Dims apart, spread, dims;
  for (size_t k = 0; k < from.size(); ++k) {
    if (repeats[k] != Dim(1)) {
      apart.emplace_back(1);
      spread.push_back(repeats[k]);
    }
    apart.push_back(from[k]);
    spread.push_back(from[k]);
    dims.push_back(repeats[k] * from[k]);
  }
  if (spread.size() > kMaxRank) c.fail("more than {} dims while it is repeated", kMaxRank);
  return {reshape(c.b, broadcast(c.b, reshape(c.b, c.x(), apart), spread), dims)};
}

Value fill_of(C c) {
  if (c.has(2)) return reshape(c.b, c.in[2], {});
  return like(c.b, c.x(), c.number("value", 0));
}

// Where element -before, ..., n + after - 1 of an axis comes from.
Value padded_places(C c, const std::string& mode, const Dim& before, const Dim& n, const Dim& after) {
  const auto size = [&](const Dim& d) { return size_value(c.b, d, DType::i32); };
  const auto fn = [&](const char* name, Value x, Value y) { return elementwise(c.b, name, {x, y}); };
  const Value at = sub(c.b, iota(c.b, {before + n + after}, 0), size(before));
  if (mode == "edge") return fn("min", fn("max", at, like(c.b, at, 0)), size(n - Dim(1)));
  if (mode == "wrap") return fn("rem", at, size(n));
  // reflect: the period is 2 (n - 1), its second half runs back
  if (n == Dim(1)) return scale(c.b, at, 0);
  const Dim period = 2 * (n - Dim(1));
  const Value phase = fn("rem", at, size(period));
  return fn("min", phase, sub(c.b, size(period), phase));
}

Values pad(C c) {
  const std::string mode = c.text("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    c.fail("mode '{}' is unknown", mode);
  Dims pads;
  if (c.in.size() > 1) {
    pads = c.dims(c.x(1), "the pads");
  } else {
    for (const int64_t n : c.integers("pads").value_or(std::vector<int64_t>{})) pads.emplace_back(n);
  }
  std::vector<int64_t> axes(static_cast<size_t>(c.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  if (c.has(3)) axes = c.fixed(c.in[3], "the axes");
  if (pads.size() != 2 * axes.size()) c.fail("{} pads for {} axes", pads.size(), axes.size());
  const SymbolTable& symbols = c.b.symbols();
  Value x = c.x();
  for (size_t k = 0; k < axes.size(); ++k) {
    const int axis = c.axis(axes[k], c.rank());
    Dim before = pads[k], after = pads[k + axes.size()];
    const auto cut = [&](Dim& by) {  // a negative pad takes away
      if (symbols.less_equal(Dim(0), by) == Known::yes) return Dim(0);
      if (!by.is_constant()) c.fail("cannot tell whether the pad {} is negative", by.text());
      const Dim away = Dim(0) - by;
      by = Dim(0);
      return away;
    };
    const Dim cut_before = cut(before), cut_after = cut(after);
    if (cut_before != Dim(0) || cut_after != Dim(0))
      x = slice(c.b, x, axis, cut_before, c.b.type(x).dim(axis) - cut_before - cut_after);
    if (before == Dim(0) && after == Dim(0)) continue;
    const Dim n = c.b.type(x).dim(axis);
    if (mode != "constant") {
      x = gather(c.b, x, padded_places(c, mode, before, n, after), axis);
      continue;
    }
    const auto fill = [&](const Dim& length) {
      Dims dims = c.b.type(x).dims;
      dims[static_cast<size_t>(axis)] = length;
      return broadcast(c.b, fill_of(c), dims);
    };
    Values parts;
    if (before != Dim(0)) parts.push_back(fill(before));
    parts.push_back(x);
    if (after != Dim(0)) parts.push_back(fill(after));
    x = concat(c.b, parts, axis);
  }
  return {x};
}

Values trilu(C c) {
  const Type type = c.type();
  if (type.rank() < 2) c.fail("the operand must have rank 2 or more, is {}", text_of(type));
  const int64_t k = c.has(1) ? c.one(c.in[1], "k") : 0;
  const Value row = iota(c.b, {type.dim(-2), Dim(1)}, 0, Dim(0)),
              column = iota(c.b, {Dim(1), type.dim(-1)}, 1, Dim(0));
  const Value diagonal = sub(c.b, column, row);
  const Value limit =
      c.b.scalar(static_cast<double>(std::clamp<int64_t>(k, -(1 << 30), 1 << 30)), DType::i32);
  const bool upper = c.integer("upper", 1) != 0;
  const Value keep = elementwise(c.b, "le", upper ? Values{limit, diagonal} : Values{diagonal, limit});
  const Value none = c.b.scalar(0, type.dtype);
  return {select(c.b, keep, c.x(), none)};
}

}  // namespace

void add_onnx_movement(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Transpose", transpose_by},
      {"Concat", concat_all},
      {"Split", split},
      {"Slice", slice_all},
      {"Tile", tile},
      {"Pad", pad},
      {"Trilu", trilu},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

// Rules on ops that only move elements. Slices and concats are compared by their dims' forms: where symbolic
// lengths leave a doubt, nothing is done.
#include <algorithm>

#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"
#include "passes/simplify_rules.h"

namespace floe {
namespace {

using Result = std::optional<Values>;

const Type& result_type(const RewriteContext& c) { return c.node.types[0]; }
const Node& producer(const RewriteContext& c, size_t i) { return c.builder.graph().producer(c.inputs[i]); }

size_t axis_of(const Node& node) {
  const int64_t axis = node.attrs.integer("axis");
  return static_cast<size_t>(axis < 0 ? axis + node.types[0].rank() : axis);
}

Dim slice_begin(const Node& node) { return node.attrs.dims("begin")[0]; }
Dim slice_length(const Node& node) { return node.attrs.dims("length")[0]; }

Value make_slice(Builder& b, Value x, size_t axis, const Dim& begin, const Dim& length) {
  return b.add("slice", {x},
               {{"axis", static_cast<int64_t>(axis)}, {"begin", Dims{begin}}, {"length", Dims{length}}});
}

Value make_concat(Builder& b, Values pieces, size_t axis) {
  if (pieces.size() == 1) return pieces[0];
  return b.add("concat", std::move(pieces), {{"axis", static_cast<int64_t>(axis)}});
}

// For reshape, broadcast, transpose, slice: the result is the operand.
Result to_same_dims(const RewriteContext& c) {
  return c.builder.type(c.inputs[0]) == result_type(c) ? Result({c.inputs[0]}) : std::nullopt;
}

Result reshape_of_reshape(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "reshape") return std::nullopt;
  return Values{reshape(c.builder, Value(inner.inputs[0]), result_type(c).dims)};
}

Result broadcast_of_broadcast(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "broadcast") return std::nullopt;
  return Values{broadcast(c.builder, Value(inner.inputs[0]), result_type(c).dims)};
}

// Moving equal numbers about gives equal numbers.
Result move_of_splat(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "broadcast") return std::nullopt;
  const Value x = inner.inputs[0];
  if (c.builder.type(x).rank() != 0) return std::nullopt;
  return Values{broadcast(c.builder, x, result_type(c).dims)};
}

Result transpose_of_transpose(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "transpose") return std::nullopt;
  const std::vector<int64_t>& first = inner.attrs.integers("perm");
  std::vector<int64_t> both;
  for (const int64_t axis : c.node.attrs.integers("perm")) both.push_back(first[static_cast<size_t>(axis)]);
  const Value x = inner.inputs[0];
  return Values{c.builder.add("transpose", {x}, {{"perm", std::move(both)}})};
}

Result transpose_in_place(const RewriteContext& c) {
  const std::vector<int64_t>& perm = c.node.attrs.integers("perm");
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return std::nullopt;
  }
  return Values{c.inputs[0]};
}

Result slice_of_whole(const RewriteContext& c) {
  if (slice_begin(c.node) != Dim(0)) return std::nullopt;
  return to_same_dims(c);
}

Result slice_of_slice(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "slice" || axis_of(inner) != axis_of(c.node)) return std::nullopt;
  const Dim begin = slice_begin(inner) + slice_begin(c.node);
  const Value x = inner.inputs[0];
  return Values{make_slice(c.builder, x, axis_of(c.node), begin, slice_length(c.node))};
}

// A slice that lies within one piece is a slice of that piece.
Result slice_of_concat(const RewriteContext& c) {
  const Node& inner = producer(c, 0);
  if (inner.op->name != "concat" || axis_of(inner) != axis_of(c.node)) return std::nullopt;
  const SymbolTable& symbols = c.builder.symbols();
  const size_t axis = axis_of(c.node);
  const Dim begin = slice_begin(c.node);
  const Dim end = begin + slice_length(c.node);
  Dim at(0);
  for (const Value piece : Values(inner.inputs)) {
    const Dim length = c.builder.type(piece).dims[axis];
    if (symbols.less_equal(at, begin) == Known::yes && symbols.less_equal(end, at + length) == Known::yes) {
      return Values{make_slice(c.builder, piece, axis, begin - at, slice_length(c.node))};
    }
    at = at + length;
  }
  return std::nullopt;
}

Result concat_of_one(const RewriteContext& c) {
  return c.inputs.size() == 1 ? Result({c.inputs[0]}) : std::nullopt;
}

// Neighbouring slices of one value are one slice.
Result concat_of_slices(const RewriteContext& c) {
  const size_t axis = axis_of(c.node);
  Values pieces;
  bool changed = false;
  for (const Value input : c.inputs) {
    if (!pieces.empty()) {
      const Graph& graph = c.builder.graph();
      const Node& left = graph.producer(pieces.back());
      const Node& right = graph.producer(input);
      if (left.op->name == "slice" && right.op->name == "slice" && axis_of(left) == axis &&
          axis_of(right) == axis && left.inputs[0] == right.inputs[0] &&
          slice_begin(left) + slice_length(left) == slice_begin(right)) {
        const Value x = left.inputs[0];
        const Dim begin = slice_begin(left);
        const Dim length = slice_length(left) + slice_length(right);
        pieces.back() = make_slice(c.builder, x, axis, begin, length);
        changed = true;
        continue;
      }
    }
    pieces.push_back(input);
  }
  if (!changed) return std::nullopt;
  return Values{make_concat(c.builder, std::move(pieces), axis)};
}

// A piece of a concat on the way through it.
class Pieces {
 public:
  Pieces(const Builder& b, const Node& concat, size_t axis) : b_(b), pieces_(concat.inputs), axis_(axis) {
    enter();
  }
  bool done() const { return at_ == pieces_.size(); }
  Value value() const { return pieces_[at_]; }
  bool zero() const { return zero_; }
  bool whole() const { return whole_; }
  const Dim& rest() const { return rest_; }
  void advance(const Dim& by) {
    rest_ = rest_ - by;
    whole_ = false;
    if (rest_ != Dim(0)) return;
    ++at_;
    enter();
  }

 private:
  void enter() {
    while (at_ < pieces_.size() && b_.type(pieces_[at_]).dims[axis_] == Dim(0)) ++at_;
    if (done()) return;
    rest_ = b_.type(pieces_[at_]).dims[axis_];
    const std::optional<double> splat = splat_of(b_.graph(), pieces_[at_]);
    zero_ = splat && *splat == 0;
    whole_ = true;
  }

  const Builder& b_;
  Values pieces_;
  size_t axis_;
  size_t at_ = 0;
  Dim rest_;
  bool zero_ = false;
  bool whole_ = true;
};

// concat(x, 0) + concat(0, y) = concat(x, y). What autodiff leaves of several slices of one value: the
// gradient of a merged projection becomes one concat of its parts' gradients.
Result sum_of_padded_slices(const RewriteContext& c) {
  Builder& b = c.builder;
  const Node& left = producer(c, 0);
  const Node& right = producer(c, 1);
  if (left.op->name != "concat" || right.op->name != "concat") return std::nullopt;
  if (left.types[0] != right.types[0] || axis_of(left) != axis_of(right)) return std::nullopt;
  const size_t axis = axis_of(left);
  const Type type = result_type(c);

  struct Part {
    Value x, y;  // neither: zeros
    Dim length;
  };
  std::vector<Part> parts;
  Pieces p(b, left, axis);
  Pieces q(b, right, axis);
  while (!p.done() && !q.done()) {
    Part part;
    if (p.zero() && q.zero()) {
      if (b.symbols().less_equal(p.rest(), q.rest()) == Known::yes) {
        part.length = p.rest();
      } else if (b.symbols().less_equal(q.rest(), p.rest()) == Known::yes) {
        part.length = q.rest();
      } else {
        return std::nullopt;
      }
    } else {
      part.length = p.zero() ? q.rest() : p.rest();
      if (!p.zero()) {
        if (!p.whole()) return std::nullopt;
        part.x = p.value();
      }
      if (!q.zero()) {
        if (!q.whole()) return std::nullopt;
        part.y = q.value();
      }
      for (const Pieces* each : {&p, &q}) {
        const bool fits = each->zero() ? b.symbols().less_equal(part.length, each->rest()) == Known::yes
                                       : each->rest() == part.length;
        if (!fits) return std::nullopt;
      }
    }
    p.advance(part.length);
    q.advance(part.length);
    const bool join = !part.x && !part.y && !parts.empty() && !parts.back().x && !parts.back().y;
    if (join) {
      parts.back().length = parts.back().length + part.length;
    } else {
      parts.push_back(std::move(part));
    }
  }
  if (!p.done() || !q.done()) return std::nullopt;
  const bool overlap = std::ranges::any_of(parts, [](const Part& part) { return part.x && part.y; });
  const bool disjoint = std::ranges::any_of(parts, [](const Part& part) { return !part.x != !part.y; });
  if (overlap && !disjoint) return std::nullopt;  // nothing to win
  Values pieces;
  for (const Part& part : parts) {
    if (part.x && part.y) {
      pieces.push_back(add(b, part.x, part.y));
    } else if (part.x || part.y) {
      pieces.push_back(part.x ? part.x : part.y);
    } else {
      Dims dims = type.dims;
      dims[axis] = part.length;
      pieces.push_back(broadcast(b, b.scalar(0, type.dtype), dims));
    }
  }
  if (pieces.empty()) return std::nullopt;
  return Values{make_concat(b, std::move(pieces), axis)};
}

}  // namespace

std::vector<SimplifyRule> movement_rules() {
  return {
      {"reshape_to_same", "reshape", to_same_dims},
      {"reshape_of_reshape", "reshape", reshape_of_reshape},
      {"reshape_of_splat", "reshape", move_of_splat},
      {"broadcast_to_same", "broadcast", to_same_dims},
      {"broadcast_of_broadcast", "broadcast", broadcast_of_broadcast},
      {"transpose_in_place", "transpose", transpose_in_place},
      {"transpose_of_transpose", "transpose", transpose_of_transpose},
      {"transpose_of_splat", "transpose", move_of_splat},
      {"slice_of_whole", "slice", slice_of_whole},
      {"slice_of_slice", "slice", slice_of_slice},
      {"slice_of_concat", "slice", slice_of_concat},
      {"slice_of_splat", "slice", move_of_splat},
      {"concat_of_one", "concat", concat_of_one},
      {"concat_of_slices", "concat", concat_of_slices},
      {"sum_of_padded_slices", "add", sum_of_padded_slices},
  };
}

const std::vector<SimplifyRule>& simplify_rules() {
  static const std::vector<SimplifyRule> rules = [] {
    std::vector<SimplifyRule> all = arithmetic_rules();
    for (SimplifyRule& rule : movement_rules()) all.push_back(rule);
    return all;
  }();
  return rules;
}

}  // namespace floe

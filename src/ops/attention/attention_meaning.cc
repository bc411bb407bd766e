// Attention in simpler ops, in [B, H, S, .] order. It holds all scores: truth and fallback, not the way to
// run it.
#include <limits>

#include "ops/attention/attention_inputs_kernel.h"
#include "ops/attention/attention_parts.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/iota/iota.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Value swap_heads(Builder& b, Value x) {
  return b.add("transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
}

Value product(Builder& b, Value x, Value y, bool transpose_x, bool transpose_y) {
  return b.add("matmul", {x, y},
               {{"transpose_a", transpose_x}, {"transpose_b", transpose_y}, {"activation", std::string()}});
}

struct Scores {
  DType wide = DType::f32;
  Dims dims;     // [B, Hq, Sq, Sk]
  Value q, k;    // [B, Hq, S, D]
  Value seen;    // bool, broadcasts to dims; no value: all
  Value live;    // bool [B, 1, Sq, 1], the queries that exist; no value: all
  Value tanh;    // of the capped logits; no value: none
  Value values;  // logits, -inf where not seen
};

// [B, S, Hkv, D] -> [B, Hq, S, D], each head repeated for its group of query heads. Keys beyond lengths
// become 0, so that whatever lies there is multiplied away.
Value spread_heads(Builder& b, Value x, const Scores& s, Value lengths) {
  const Type type = b.type(x);
  const Dim& heads = type.dim(2);
  const Dim groups = Dim(s.dims[1].constant() / heads.constant());
  if (lengths) {
    const Value inside = elementwise(b, "lt",
                                     {iota(b, {Dim(1), type.dim(1), Dim(1), Dim(1)}, 1),
                                      reshape(b, lengths, {type.dim(0), Dim(1), Dim(1), Dim(1)})});
    x = select(b, inside, x, like(b, x, 0));
  }
  x = reshape(b, swap_heads(b, x), {type.dim(0), heads, Dim(1), type.dim(1), type.dim(3)});
  x = broadcast(b, x, {type.dim(0), heads, groups, type.dim(1), type.dim(3)});
  return reshape(b, x, {type.dim(0), s.dims[1], type.dim(1), type.dim(3)});
}

// [B, Sq, Hq, D] -> [B, Hq, Sq, D], with 0 for queries that do not exist, whatever lies there.
Value of_queries(Builder& b, Value x, const Scores& s) {
  x = swap_heads(b, cast(b, x, s.wide));
  return s.live ? select(b, s.live, x, like(b, x, 0)) : x;
}

// The gradient of spread_heads.
Value gather_heads(Builder& b, Value x, const Type& type) {
  const Dim groups = Dim(b.type(x).dim(1).constant() / type.dim(2).constant());
  x = reshape(b, x, {type.dim(0), type.dim(2), groups, type.dim(1), type.dim(3)});
  return cast(b, swap_heads(b, reduce_sum(b, x, {2}, /*keep=*/false)), type.dtype);
}

// i32 [B or 1, 1, Sq, 1]: the key where each query stands.
Value places_of(Builder& b, const AttentionArgs& args, const Dims& dims) {
  const Dims column{Dim(1), Dim(1), dims[2], Dim(1)};
  if (args.causal == Causal::top_left) return iota(b, column, 2);
  if (!args.query_lengths) return iota(b, column, 2, dims[3] - dims[2]);
  const auto count_of = [&](Value lengths, const Dim& most) {
    const Value all = iota(b, {Dim(1)}, 0, most);
    return lengths ? elementwise(b, "min", {elementwise(b, "max", {lengths, like(b, lengths, 0)}), all})
                   : all;
  };
  const Value lag = sub(b, count_of(args.lengths, dims[3]), count_of(args.query_lengths, dims[2]));
  return add(b, iota(b, column, 2), reshape(b, lag, {dims[0], Dim(1), Dim(1), Dim(1)}));
}

// Sets `seen` and `live`.
void mask_scores(Builder& b, const AttentionArgs& args, Value places, Scores* s) {
  const Value keys = iota(b, {Dim(1), Dim(1), Dim(1), s->dims[3]}, 3);
  const auto demand = [&](Value condition) {
    s->seen = s->seen ? elementwise(b, "logical_and", {s->seen, condition}) : condition;
  };
  const auto per_row = [&](Value x) { return reshape(b, x, {s->dims[0], Dim(1), Dim(1), Dim(1)}); };
  const auto moved = [&](int64_t by) {
    return by == 0 ? places : add(b, places, b.scalar(static_cast<double>(by), DType::i32));
  };
  if (args.lengths) demand(elementwise(b, "lt", {keys, per_row(args.lengths)}));
  if (args.causal != Causal::none) demand(elementwise(b, "le", {keys, places}));
  if (args.window_right) demand(elementwise(b, "le", {keys, moved(*args.window_right)}));
  if (args.window_left) demand(elementwise(b, "le", {moved(-*args.window_left), keys}));
  if (!args.query_lengths) return;
  s->live =
      elementwise(b, "lt", {iota(b, {Dim(1), Dim(1), s->dims[2], Dim(1)}, 2), per_row(args.query_lengths)});
  demand(s->live);
}

Scores scores_of(Builder& b, const AttentionArgs& args) {
  const Type q = b.type(args.q);
  const Type k = b.type(args.k);
  Scores s;
  s.wide = q.dtype == DType::f64 ? q.dtype : DType::f32;
  s.dims = {q.dim(0), q.dim(2), q.dim(1), k.dim(1)};
  const Value places = places_of(b, args, s.dims);
  mask_scores(b, args, places, &s);
  s.q = of_queries(b, args.q, s);
  s.k = spread_heads(b, cast(b, args.k, s.wide), s, args.lengths);
  s.values = scale(b, product(b, s.q, s.k, false, true), *args.scale);  // [B, Hq, Sq, Sk]
  if (args.softcap > 0) {
    s.tanh = elementwise(b, "tanh", {scale(b, s.values, 1 / args.softcap)});
    s.values = scale(b, s.tanh, args.softcap);
  }
  if (args.bias) s.values = add(b, s.values, cast(b, args.bias, s.wide));
  if (args.slopes) {
    const Value keys = iota(b, {Dim(1), Dim(1), Dim(1), s.dims[3]}, 3);
    const Value distance = cast(b, elementwise(b, "abs", {sub(b, places, keys)}), s.wide);
    const Value slopes = reshape(b, cast(b, args.slopes, s.wide), {Dim(1), s.dims[1], Dim(1), Dim(1)});
    s.values = sub(b, s.values, mul(b, slopes, distance));
  }
  if (s.seen) s.values = select(b, s.seen, s.values, like(b, s.values, -kInfinity));
  return s;
}

struct Probabilities {
  Value p;    // [B, Hq, Sq, Sk]
  Value lse;  // [B, Hq, Sq, 1]
};
Probabilities probabilities_of(Builder& b, const Scores& s) {
  const Value zero = like(b, s.values, 0);
  const Value top = reduce_max(b, s.values, {3}, /*keep=*/true);
  const Value nothing = elementwise(b, "eq", {top, like(b, top, -kInfinity)});
  const Value shift = select(b, nothing, zero, top);
  const Value exps = elementwise(b, "exp", {sub(b, s.values, shift)});
  const Value sum = reduce_sum(b, exps, {3}, /*keep=*/true);
  return {div(b, exps, select(b, nothing, like(b, sum, 1), sum)),
          select(b, nothing, like(b, top, -kInfinity), add(b, shift, elementwise(b, "log", {sum})))};
}

// x where the mask keeps it, scaled up, else 0.
Value drop(Builder& b, Value x, const AttentionArgs& args, const Scores& s) {
  if (args.dropout == 0) return x;
  const Value uniform =
      b.add("uniform", {args.seed, args.ordinals}, {{"dims", s.dims}, {"op_id", args.op_id}});
  const Value keep = elementwise(b, "le", {b.scalar(args.dropout), uniform});
  return select(b, keep, scale(b, x, 1 / (1 - args.dropout)), like(b, x, 0));
}

}  // namespace

Values attention_meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const AttentionArgs args = attention_args(node.attrs, inputs, 3);
  const Scores s = scores_of(b, args);
  const auto [p, lse] = probabilities_of(b, s);
  const Value v = spread_heads(b, cast(b, args.v, s.wide), s, args.lengths);
  const Value out = swap_heads(b, product(b, drop(b, p, args, s), v, false, false));
  return {cast(b, out, b.type(args.q).dtype),
          cast(b, reshape(b, lse, {s.dims[0], s.dims[1], s.dims[2]}), DType::f32)};
}

// p from lse; m = dropout's mask times 1/(1-rate):
// dv = (p m)^T dout,  dlogits = p * (m * (dout v^T) - sum(dout * out) + dlse),  dbias = their sum,
// ds = scale * dlogits * (1 - tanh^2),  dq = ds k,  dk = ds^T q
Values attention_grad_meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const AttentionArgs args = attention_args(node.attrs, inputs, 6);
  const AttentionInputs at = AttentionInputs::of(node.attrs, 6);
  const Scores s = scores_of(b, args);
  const Dims row{s.dims[0], s.dims[1], s.dims[2], Dim(1)};
  const Value lse = reshape(b, cast(b, inputs[4], s.wide), row);
  const Value nothing = elementwise(b, "eq", {lse, like(b, lse, -kInfinity)});
  const Value p = elementwise(b, "exp", {sub(b, s.values, select(b, nothing, like(b, lse, 0), lse))});
  const Value v = spread_heads(b, cast(b, args.v, s.wide), s, args.lengths);
  const Value out = of_queries(b, inputs[3], s);
  const Value dout = of_queries(b, inputs[5], s);
  Value delta = reduce_sum(b, mul(b, dout, out), {3}, /*keep=*/true);
  if (at.dlse != AttentionInputs::kAbsent) {
    const Value dlse = reshape(b, cast(b, inputs[at.dlse], s.wide), row);
    delta = sub(b, delta, s.live ? select(b, s.live, dlse, like(b, dlse, 0)) : dlse);
  }
  const Value dp = drop(b, product(b, dout, v, false, true), args, s);
  const Value by_logits = mul(b, p, sub(b, dp, delta));
  Value ds = scale(b, by_logits, *args.scale);
  if (s.tanh) ds = mul(b, ds, sub(b, b.scalar(1, s.wide), mul(b, s.tanh, s.tanh)));
  const auto transposed = [&](Value x) {
    return b.add("transpose", {x}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  };
  const Value dq = swap_heads(b, product(b, ds, s.k, false, false));
  const Value dk = product(b, transposed(ds), s.q, false, false);
  const Value dv = product(b, transposed(drop(b, p, args, s)), dout, false, false);
  Values all{cast(b, dq, b.type(args.q).dtype), gather_heads(b, dk, b.type(args.k)),
             gather_heads(b, dv, b.type(args.v))};
  if (node.attrs.flag("bias_gradient", false))
    all.push_back(cast(b, sum_to(b, by_logits, b.type(args.bias)), DType::f32));
  return all;
}

Values attention_weights_meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const AttentionArgs args = attention_args(node.attrs, inputs, 2);
  return {cast(b, probabilities_of(b, scores_of(b, args)).p, DType::f32)};
}

}  // namespace floe

#include "ops/attention/attention.h"

#include <cmath>

#include "ops/attention/attention_parts.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

void check_mask(const InferArgs& args, size_t first) {
  const std::string& causal = args.attrs.text("causal");
  if (causal != "none" && causal != "top_left" && causal != "bottom_right") {
    args.fail("causal must be none, top_left or bottom_right, got '{}'", causal);
  }
  const double dropout = args.attrs.number("dropout", 0);
  if (!(dropout >= 0 && dropout < 1)) args.fail("dropout must be in [0, 1), got {}", dropout);
  const size_t expected = first + (args.attrs.flag("lengths") ? 1 : 0) + (dropout > 0 ? 2 : 0);
  if (args.inputs.size() != expected) {
    args.fail("takes {} inputs with lengths = {} and dropout = {}, got {}", expected,
              args.attrs.flag("lengths"), dropout, args.inputs.size());
  }
  const Dim& batch = args.inputs[0].dim(0);
  const auto per_row = [&](size_t at, const char* what) {
    const Type& type = args.inputs[at];
    if (type.dtype != DType::i32 || type.rank() != 1 || !args.equal(type.dim(0), batch)) {
      args.fail("{} must be i32[{}], got {}", what, batch.text(), text_of(type));
    }
  };
  size_t at = first;
  if (args.attrs.flag("lengths")) per_row(at++, "lengths");
  if (dropout > 0) {
    const Type& seed = args.inputs[at++];
    if (seed.dtype != DType::i32 || seed.rank() != 0) args.fail("seed must be i32[], got {}", text_of(seed));
    per_row(at, "ordinals");
  }
}

void check_query_and_key(const InferArgs& args) {
  for (int i = 0; i < 2; ++i) {
    args.require_float(i);
    args.require_rank(i, 4);
  }
  const Type& q = args.inputs[0];
  const Type& k = args.inputs[1];
  if (q.dtype != k.dtype) args.fail("q and k must have one type, got {} and {}", text_of(q), text_of(k));
  if (!args.equal(q.dim(0), k.dim(0)) || !args.equal(q.dim(3), k.dim(3))) {
    args.fail("q and k must agree in batch and head size, got {} and {}", text_of(q), text_of(k));
  }
  for (const Dim& heads : {q.dim(2), k.dim(2)}) {
    if (!heads.is_constant() || heads.constant() < 1) {
      args.fail("the number of heads must be a number above 0, got {}", heads.text());
    }
  }
  if (q.dim(2).constant() % k.dim(2).constant() != 0) {
    args.fail("{} query heads are no multiple of {} key heads", q.dim(2).text(), k.dim(2).text());
  }
}

void check_value(const InferArgs& args) {
  args.require_rank(2, 4);
  const Type& k = args.inputs[1];
  const Type& v = args.inputs[2];
  if (v.dtype != k.dtype || !args.equal(k.dim(0), v.dim(0)) || !args.equal(k.dim(1), v.dim(1)) ||
      !args.equal(k.dim(2), v.dim(2))) {
    args.fail("k and v must agree in all but head size, got {} and {}", text_of(k), text_of(v));
  }
}

std::vector<Type> out_and_lse(const InferArgs& args) {
  const Type& q = args.inputs[0];
  return {{q.dtype, {q.dim(0), q.dim(1), q.dim(2), args.inputs[2].dim(3)}},
          {DType::f32, {q.dim(0), q.dim(2), q.dim(1)}}};
}

std::vector<Type> infer(const InferArgs& args) {
  check_query_and_key(args);
  check_value(args);
  check_mask(args, 3);
  return out_and_lse(args);
}

std::vector<Type> infer_grad(const InferArgs& args) {
  check_query_and_key(args);
  check_value(args);
  check_mask(args, 6);
  const std::vector<Type> forward = out_and_lse(args);
  const auto expect = [&](size_t at, const char* what, const Type& type) {
    if (args.inputs[at] != type)
      args.fail("{} must be {}, got {}", what, text_of(type), text_of(args.inputs[at]));
  };
  expect(3, "out", forward[0]);
  expect(4, "lse", forward[1]);
  expect(5, "dout", forward[0]);
  return {args.inputs[0], args.inputs[1], args.inputs[2]};
}

std::vector<Type> infer_weights(const InferArgs& args) {
  check_query_and_key(args);
  check_mask(args, 2);
  const Type& q = args.inputs[0];
  return {{DType::f32, {q.dim(0), q.dim(2), q.dim(1), args.inputs[1].dim(1)}}};
}

// A gradient through lse adds dlse * p to the gradient of the scores. Since that gradient is p * (dp - delta)
// with delta = sum(dout * out), one more value feature that is 0, with out = -dlse and dout = 1 there, does
// exactly that.
Values gradient(Builder& b, const GradientArgs& args) {
  AttentionArgs forward = attention_args(args.node.attrs, args.inputs, 3);
  AttentionResult result{args.outputs[0], args.outputs[1]};
  Value dout = args.d_outputs[0];
  if (!dout) dout = broadcast(b, like(b, result.out, 0), b.type(result.out).dims);
  const Value dlse = args.d_outputs[1];
  const Type v = b.type(forward.v);
  if (dlse) {
    const auto widen = [&](Value x, Value column) {
      return b.add("concat", {x, column}, {{"axis", int64_t{3}}});
    };
    const auto ones_for = [&](const Type& type, double value) {
      return broadcast(b, b.scalar(value, type.dtype), {type.dim(0), type.dim(1), type.dim(2), Dim(1)});
    };
    const Type out = b.type(result.out);
    const Value turned = b.add("transpose", {dlse}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
    const Value column = reshape(b, cast(b, elementwise(b, "neg", {turned}), out.dtype),
                                 {out.dim(0), out.dim(1), out.dim(2), Dim(1)});
    forward.v = widen(forward.v, ones_for(v, 0));
    result.out = widen(result.out, column);
    dout = widen(dout, ones_for(out, 1));
  }
  AttentionGrads grads = attention_grad(b, forward, result, dout);
  if (dlse) {
    grads.dv = b.add("slice", {grads.dv},
                     {{"axis", int64_t{3}}, {"begin", Dims{Dim(0)}}, {"length", Dims{v.dim(3)}}});
  }
  Values all(args.inputs.size());
  all[0] = grads.dq;
  all[1] = grads.dk;
  all[2] = grads.dv;
  return all;
}

// Heads are independent, so all three may be cut along them. Not with dropout: its masks name the head by its
// number among all heads, which a rank does not know.
bool cut_by_heads(const ShardArgs& args) {
  return args.node.attrs.number("dropout", 0) == 0 && args.placements[0] == Placement::shard(2) &&
         args.placements[1] == Placement::shard(2);
}

Attrs attrs_of(const AttentionArgs& args, Builder& b) {
  const Dim& width = b.type(args.q).dim(-1);
  FLOE_CHECK(args.scale || width.is_constant(), "attention over a symbolic head size {} needs a scale",
             width.text());
  Attrs attrs{{"causal", std::string(name_of(args.causal))},
              {"scale", args.scale ? *args.scale : 1 / std::sqrt(static_cast<double>(width.constant()))},
              {"lengths", static_cast<bool>(args.lengths)}};
  return attrs;
}

void add_optional(const AttentionArgs& args, Values* inputs, Attrs* attrs) {
  if (args.lengths) inputs->push_back(args.lengths);
  attrs->set("dropout", args.dropout);
  attrs->set("op_id", args.op_id);
  if (args.dropout > 0) {
    FLOE_CHECK(args.seed && args.ordinals, "dropout needs seed and ordinals");
    inputs->push_back(args.seed);
    inputs->push_back(args.ordinals);
  }
}

}  // namespace

std::string_view name_of(Causal causal) {
  switch (causal) {
    case Causal::none:
      return "none";
    case Causal::top_left:
      return "top_left";
    case Causal::bottom_right:
      return "bottom_right";
  }
  return "?";
}

AttentionArgs attention_args(const Attrs& attrs, std::span<const Value> inputs, size_t first) {
  AttentionArgs args{inputs[0], inputs[1], first >= 3 ? inputs[2] : Value{}};
  const std::string& causal = attrs.text("causal");
  args.causal = causal == "top_left" ? Causal::top_left
                                     : (causal == "bottom_right" ? Causal::bottom_right : Causal::none);
  args.scale = attrs.number("scale");
  args.dropout = attrs.number("dropout", 0);
  args.op_id = attrs.integer("op_id", 0);
  if (attrs.flag("lengths")) args.lengths = inputs[first++];
  if (args.dropout > 0) {
    args.seed = inputs[first];
    args.ordinals = inputs[first + 1];
  }
  return args;
}

AttentionResult attention(Builder& b, const AttentionArgs& args) {
  Values inputs{args.q, args.k, args.v};
  Attrs attrs = attrs_of(args, b);
  add_optional(args, &inputs, &attrs);
  const Values results = b.add_all("attention", std::move(inputs), std::move(attrs));
  return {results[0], results[1]};
}

AttentionGrads attention_grad(Builder& b, const AttentionArgs& args, const AttentionResult& result,
                              Value dout) {
  Values inputs{args.q, args.k, args.v, result.out, result.lse, dout};
  Attrs attrs = attrs_of(args, b);
  add_optional(args, &inputs, &attrs);
  const Values grads = b.add_all("attention_grad", std::move(inputs), std::move(attrs));
  return {grads[0], grads[1], grads[2]};
}

Value attention_weights(Builder& b, const AttentionArgs& args) {
  Values inputs{args.q, args.k};
  if (args.lengths) inputs.push_back(args.lengths);
  return b.add("attention_weights", std::move(inputs), attrs_of(args, b));
}

void define_attention(OpTable& table) {
  OpDef op;
  op.name = "attention";
  op.summary =
      "(q [B, Sq, Hq, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv][, lengths [B]][, seed [], ordinals [B]]) -> "
      "out [B, Sq, Hq, Dv], lse [B, Hq, Sq]";
  op.min_inputs = 3;
  op.max_inputs = 6;
  op.infer = infer;
  op.evaluate = evaluate_attention;
  op.meaning = attention_meaning;
  op.gradient = gradient;
  op.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()),
                   {Placement::replicate(), Placement::replicate()}};
    if (!cut_by_heads(args)) return rule;
    for (size_t i = 0; i < 3; ++i) rule.inputs[i] = Placement::shard(2);
    rule.outputs = {Placement::shard(2), Placement::shard(1)};
    return rule;
  };
  table.add(std::move(op));

  OpDef grad;
  grad.name = "attention_grad";
  grad.summary = "(q, k, v, out, lse, dout[, lengths][, seed, ordinals]) -> dq, dk, dv of attention";
  grad.min_inputs = 6;
  grad.max_inputs = 9;
  grad.infer = infer_grad;
  grad.evaluate = evaluate_attention_grad;
  grad.meaning = attention_grad_meaning;
  grad.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()), std::vector<Placement>(3)};
    if (!cut_by_heads(args)) return rule;
    for (size_t i = 0; i < 6; ++i) rule.inputs[i] = Placement::shard(i == 4 ? 1 : 2);
    rule.outputs.assign(3, Placement::shard(2));
    return rule;
  };
  table.add(std::move(grad));

  OpDef weights;
  weights.name = "attention_weights";
  weights.summary =
      "(q [B, Sq, Hq, D], k [B, Sk, Hkv, D][, lengths [B]]) -> probabilities f32 [B, Hq, Sq, Sk]";
  weights.min_inputs = 2;
  weights.max_inputs = 3;
  weights.infer = infer_weights;
  weights.evaluate = evaluate_attention_weights;
  weights.meaning = attention_weights_meaning;
  weights.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()), std::vector<Placement>(1)};
    if (!cut_by_heads(args)) return rule;
    rule.inputs[0] = rule.inputs[1] = Placement::shard(2);
    rule.outputs = {Placement::shard(1)};
    return rule;
  };
  table.add(std::move(weights));
}

}  // namespace floe

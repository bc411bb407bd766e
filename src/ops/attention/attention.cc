#include "ops/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "ops/attention/attention_inputs_kernel.h"
#include "ops/attention/attention_parts.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

Values gradient(Builder& b, const GradientArgs& args) {
  const AttentionInputs at = AttentionInputs::of(args.node.attrs, 3);
  const auto needed = [&](size_t input) { return input != AttentionInputs::kAbsent && args.needed[input]; };
  if (needed(at.slopes))
    fail_user("[attention] slopes get no gradient; a bias, which has one, can hold what they make");
  const AttentionArgs forward = attention_args(args.node.attrs, args.inputs, 3);
  const AttentionResult result{args.outputs[0], args.outputs[1]};
  Value dout = args.d_outputs[0];
  if (!dout) dout = broadcast(b, like(b, result.out, 0), b.type(result.out).dims);
  const AttentionGrads grads =
      attention_grad(b, forward, result, dout, {.dlse = args.d_outputs[1], .bias_gradient = needed(at.bias)});
  Values all(args.inputs.size());
  all[0] = grads.dq;
  all[1] = grads.dk;
  all[2] = grads.dv;
  if (grads.dbias) all[at.bias] = grads.dbias;
  return all;
}

// Heads are independent, so all three may be cut along them. Not with dropout: its masks name the head by its
// number among all heads, which a rank does not know.
bool cut_by_heads(const ShardArgs& args) {
  return args.node.attrs.number("dropout", 0) == 0 && args.placements[0] == Placement::shard(2) &&
         args.placements[1] == Placement::shard(2);
}

bool has_heads(const Type& bias) { return !bias.dim(1).is_constant() || bias.dim(1).constant() != 1; }

Attrs attrs_of(const AttentionArgs& args, Builder& b) {
  const Dim& width = b.type(args.q).dim(-1);
  FLOE_CHECK(args.scale || width.is_constant(), "attention over a symbolic head size {} needs a scale",
             width.text());
  Attrs attrs{{"causal", std::string(name_of(args.causal))},
              {"scale", args.scale ? *args.scale : 1 / std::sqrt(static_cast<double>(width.constant()))},
              {"lengths", static_cast<bool>(args.lengths)}};
  if (args.query_lengths) attrs.set("query_lengths", true);
  if (args.window_left) attrs.set("window_left", *args.window_left);
  if (args.window_right) attrs.set("window_right", *args.window_right);
  if (args.softcap != 0) attrs.set("softcap", args.softcap);
  if (args.bias) attrs.set("bias", true);
  if (args.slopes) attrs.set("slopes", true);
  return attrs;
}

// In the order of AttentionInputs.
void add_masks(const AttentionArgs& args, Values* inputs) {
  for (const Value value : {args.lengths, args.query_lengths, args.bias, args.slopes}) {
    if (value) inputs->push_back(value);
  }
}

void add_dropout(const AttentionArgs& args, Values* inputs, Attrs* attrs) {
  attrs->set("dropout", args.dropout);
  attrs->set("op_id", args.op_id);
  if (args.dropout > 0) {
    FLOE_CHECK(args.seed && args.ordinals, "dropout needs seed and ordinals");
    inputs->push_back(args.seed);
    inputs->push_back(args.ordinals);
  }
}

// Optional inputs are the same on every rank, but for those that have a head to themselves.
void shard_optional(const ShardArgs& args, size_t first, ShardRule* rule) {
  const AttentionInputs at = AttentionInputs::of(args.node.attrs, first);
  if (at.slopes != AttentionInputs::kAbsent) rule->inputs[at.slopes] = Placement::shard(0);
  if (at.dlse != AttentionInputs::kAbsent) rule->inputs[at.dlse] = Placement::shard(1);
  if (at.bias != AttentionInputs::kAbsent && has_heads(args.inputs[at.bias]))
    rule->inputs[at.bias] = Placement::shard(1);
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
  args.softcap = attrs.number("softcap", 0);
  if (attrs.has("window_left")) args.window_left = attrs.integer("window_left");
  if (attrs.has("window_right")) args.window_right = attrs.integer("window_right");
  const AttentionInputs at = AttentionInputs::of(attrs, first);
  const auto input = [&](size_t i) { return i == AttentionInputs::kAbsent ? Value{} : inputs[i]; };
  args.lengths = input(at.lengths);
  args.query_lengths = input(at.query_lengths);
  args.bias = input(at.bias);
  args.slopes = input(at.slopes);
  args.seed = input(at.seed);
  args.ordinals = input(at.ordinals);
  return args;
}

AttentionResult attention(Builder& b, const AttentionArgs& args) {
  Values inputs{args.q, args.k, args.v};
  Attrs attrs = attrs_of(args, b);
  add_masks(args, &inputs);
  add_dropout(args, &inputs, &attrs);
  const Values results = b.add_all("attention", std::move(inputs), std::move(attrs));
  return {results[0], results[1]};
}

AttentionGrads attention_grad(Builder& b, const AttentionArgs& args, const AttentionResult& result,
                              Value dout, const AttentionGradOptions& options) {
  Values inputs{args.q, args.k, args.v, result.out, result.lse, dout};
  Attrs attrs = attrs_of(args, b);
  add_masks(args, &inputs);
  if (options.dlse) {
    attrs.set("dlse", true);
    inputs.push_back(options.dlse);
  }
  if (options.bias_gradient) attrs.set("bias_gradient", true);
  add_dropout(args, &inputs, &attrs);
  const Values grads = b.add_all("attention_grad", std::move(inputs), std::move(attrs));
  return {grads[0], grads[1], grads[2], options.bias_gradient ? grads[3] : Value{}};
}

Value attention_weights(Builder& b, const AttentionArgs& args) {
  Values inputs{args.q, args.k};
  add_masks(args, &inputs);
  return b.add("attention_weights", std::move(inputs), attrs_of(args, b));
}

void define_attention(OpTable& table) {
  OpDef op;
  op.name = "attention";
  op.summary =
      "(q [B, Sq, Hq, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv][, lengths [B]][, query_lengths [B]]"
      "[, bias [B|1, Hq|1, Sq, Sk]][, slopes [Hq]][, seed [], ordinals [B]]) -> "
      "out [B, Sq, Hq, Dv], lse [B, Hq, Sq]";
  op.min_inputs = 3;
  op.max_inputs = 9;
  op.infer = infer_attention;
  op.evaluate = evaluate_attention;
  op.meaning = attention_meaning;
  op.gradient = gradient;
  op.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()),
                   {Placement::replicate(), Placement::replicate()}};
    if (!cut_by_heads(args)) return rule;
    for (size_t i = 0; i < 3; ++i) rule.inputs[i] = Placement::shard(2);
    shard_optional(args, 3, &rule);
    rule.outputs = {Placement::shard(2), Placement::shard(1)};
    return rule;
  };
  table.add(std::move(op));

  OpDef grad;
  grad.name = "attention_grad";
  grad.summary =
      "(q, k, v, out, lse, dout[, lengths][, query_lengths][, bias][, slopes][, dlse][, seed, "
      "ordinals]) -> dq, dk, dv[, dbias] of attention";
  grad.min_inputs = 6;
  grad.max_inputs = 13;
  grad.infer = infer_attention_grad;
  grad.evaluate = evaluate_attention_grad;
  grad.meaning = attention_grad_meaning;
  grad.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()),
                   std::vector<Placement>(args.node.types.size())};
    if (!cut_by_heads(args)) return rule;
    for (size_t i = 0; i < 6; ++i) rule.inputs[i] = Placement::shard(i == 4 ? 1 : 2);
    shard_optional(args, 6, &rule);
    std::fill_n(rule.outputs.begin(), 3, Placement::shard(2));
    // A bias of all heads gets the sum of all ranks' gradients.
    if (rule.outputs.size() > 3)
      rule.outputs[3] = has_heads(args.node.types[3]) ? Placement::shard(1) : Placement::partial();
    return rule;
  };
  table.add(std::move(grad));

  OpDef weights;
  weights.name = "attention_weights";
  weights.summary =
      "(q [B, Sq, Hq, D], k [B, Sk, Hkv, D][, lengths [B]][, query_lengths [B]][, bias [B|1, Hq|1, Sq, Sk]]"
      "[, slopes [Hq]]) -> probabilities f32 [B, Hq, Sq, Sk]";
  weights.min_inputs = 2;
  weights.max_inputs = 6;
  weights.infer = infer_attention_weights;
  weights.evaluate = evaluate_attention_weights;
  weights.meaning = attention_weights_meaning;
  weights.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(args.inputs.size()), std::vector<Placement>(1)};
    if (!cut_by_heads(args)) return rule;
    rule.inputs[0] = rule.inputs[1] = Placement::shard(2);
    shard_optional(args, 2, &rule);
    rule.outputs = {Placement::shard(1)};
    return rule;
  };
  table.add(std::move(weights));
}

}  // namespace floe

// Attention in ONNX's forms. The plain one becomes the op `attention`; masks, soft caps, caches and the wish
// to see the scores are written out, with the softmax as an op.
#include <cmath>
#include <limits>

#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "frontend/onnx_values.h"
#include "ops/attention/attention.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/iota/iota.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

using C = OnnxCall&;

constexpr double kInf = std::numeric_limits<double>::infinity();
const std::vector<int64_t> kSwapHeads = {0, 2, 1, 3};

// [B, S, H * D] -> [B, S, H, D]
Value split_heads(C c, Value x, int64_t heads) {
  const Type type = c.b.type(x);
  c.want_rank(x, 3, "an operand whose heads are merged");
  if (heads < 1) c.fail("operands of rank 3 need the number of heads");
  const Dim width = floor_div(type.dim(2), Dim(heads));
  if (!c.b.symbols().decide_equal(width * Dim(heads), type.dim(2), "heads"))
    c.fail("a width of {} in {} heads", type.dim(2).text(), heads);
  return reshape(c.b, x, {type.dim(0), type.dim(1), Dim(heads), width});
}
Value merge_heads(C c, Value x) {  // [B, S, H, D] -> [B, S, H * D]
  const Dims dims = c.b.type(x).dims;
  return reshape(c.b, x, {dims[0], dims[1], dims[2] * dims[3]});
}

// Each head of [B, Hkv, S, D] as often as query heads share it.
Value repeat_heads(C c, Value x, const Dim& heads) {
  const Dims dims = c.b.type(x).dims;
  if (dims[1] == heads) return x;
  const int64_t have = c.constant_dim(dims[1], "the number of heads"),
                want = c.constant_dim(heads, "the number of heads");
  if (have < 1 || want % have != 0) c.fail("{} query heads over {} heads", want, have);
  const Dim times(want / have);
  return reshape(c.b,
                 broadcast(c.b, reshape(c.b, x, {dims[0], dims[1], Dim(1), dims[2], dims[3]}),
                           {dims[0], dims[1], times, dims[2], dims[3]}),
                 {dims[0], heads, dims[2], dims[3]});
}

// A mask or bias [..., Sq, Sk'], Sk' <= Sk: what it lacks of the keys is masked.
Value bias_of(C c, Value mask, const Dim& keys) {
  const Value none = c.b.scalar(-kInf);
  if (c.b.type(mask).dtype == DType::boolean) {
    mask = select(c.b, mask, c.b.scalar(0), none);
  } else {
    mask = cast(c.b, mask, DType::f32);
  }
  Dims dims = c.b.type(mask).dims;
  if (dims.empty()) c.fail("the mask has no dims");
  const Dim rest = keys - dims.back();
  if (rest == Dim(0) || dims.back() == Dim(1)) return mask;
  if (c.b.symbols().less_equal(Dim(0), rest) != Known::yes)
    c.fail("the mask is of {} keys, there are {}", dims.back().text(), keys.text());
  dims.back() = rest;
  return concat(c.b, {mask, broadcast(c.b, none, dims)}, static_cast<int64_t>(dims.size()) - 1);
}

struct Heads {
  Value q, k, v;  // [B, H, S, D]
};

Values attention_of(C c) {
  const Builder& b = c.b;
  const bool rank3 = c.rank(0) == 3;
  if ((c.rank(0) != 3 && c.rank(0) != 4) || c.rank(1) != c.rank(0) || c.rank(2) != c.rank(0))
    c.fail("q, k and v must have rank 3 or 4, are {}, {} and {}", text_of(c.type(0)), text_of(c.type(1)),
           text_of(c.type(2)));
  const DType dtype = c.type(0).dtype;
  const double softcap = c.number("softcap", 0);
  const bool causal = c.integer("is_causal", 0) != 0;
  const int64_t left = c.integer("left_window_size", -1), right = c.integer("right_window_size", -1);
  const int64_t mode = c.integer("qk_matmul_output_mode", 0);
  const auto heads = [&](size_t i, const char* name) {
    return rank3 ? split_heads(c, c.x(i), c.integer(name, 0)) : c.x(i);
  };
  const Value q = heads(0, "q_num_heads"), k = heads(1, "kv_num_heads"), v = heads(2, "kv_num_heads");
  const Dim width = b.type(q).dim(3);
  const double scale_by = c.attribute("scale") != nullptr && c.number("scale", 0) != 0
                              ? c.number("scale", 1)
                              : 1 / std::sqrt(static_cast<double>(c.constant_dim(width, "the head's width")));
  const bool plain = !c.has(3) && !c.has(4) && !c.has(6) && softcap == 0 && left < 0 && right < 0 &&
                     !c.wants(1) && !c.wants(2) && !c.wants(3);
  if (plain) {
    const auto rows = [&](Value x) { return rank3 ? x : transpose(c.b, x, kSwapHeads); };  // [B, S, H, D]
    const Value out = attention(c.b, {.q = rows(q),
                                      .k = rows(k),
                                      .v = rows(v),
                                      .causal = causal ? Causal::top_left : Causal::none,
                                      .scale = scale_by})
                          .out;
    return {rank3 ? merge_heads(c, out) : transpose(c.b, out, kSwapHeads)};
  }

  const auto by_head = [&](Value x) { return rank3 ? transpose(c.b, x, kSwapHeads) : x; };
  Heads h{by_head(q), by_head(k), by_head(v)};
  Dim past(0);
  if (c.has(4)) {
    c.want_rank(c.x(4), 4, "past_key");
    past = c.type(4).dim(2);
    h.k = concat(c.b, {c.x(4), h.k}, 2);
    h.v = concat(c.b, {c.x(5), h.v}, 2);
  }
  const Value present_k = h.k, present_v = h.v;
  const Dim count = b.type(h.q).dim(1), queries = b.type(h.q).dim(2), keys = b.type(h.k).dim(2);
  const auto wide = [&](Value x) { return cast(c.b, x, DType::f32); };
  const Value kt = swap_last_two(c.b, repeat_heads(c, h.k, count));
  Value scores = scale(c.b, numpy_matmul(c.b, wide(h.q), wide(kt)), scale_by);  // [B, H, Sq, Sk]
  std::vector<Value> seen{scores};
  if (softcap > 0) scores = scale(c.b, elementwise(c.b, "tanh", {scale(c.b, scores, 1 / softcap)}), softcap);
  seen.push_back(scores);

  const Value none = c.b.scalar(-kInf), zero = c.b.scalar(0);
  if (c.has(3)) scores = add(c.b, scores, bias_of(c, c.in[3], keys));
  const Value key = iota(c.b, {Dim(1), keys}, 1);
  if (c.has(6)) {
    c.want_rank(c.in[6], 1, "nonpad_kv_seqlen");
    const Value lengths =
        reshape(c.b, cast(c.b, c.in[6], DType::i32), {c.type(6).dim(0), Dim(1), Dim(1), Dim(1)});
    scores = add(c.b, scores, select(c.b, elementwise(c.b, "lt", {key, lengths}), zero, none));
  }
  if (causal || left >= 0 || right >= 0) {
    Value position = iota(c.b, {queries, Dim(1)}, 0, past);
    if (c.has(6) && !c.has(4)) {  // the queries are the last of the keys there are
      const Value lengths =
          reshape(c.b, cast(c.b, c.in[6], DType::i32), {c.type(6).dim(0), Dim(1), Dim(1), Dim(1)});
      position = add(c.b, position, sub(c.b, lengths, size_value(c.b, queries, DType::i32)));
    }
    const auto allow = [&](Value low, Value high) {
      scores = add(c.b, scores, select(c.b, elementwise(c.b, "le", {low, high}), zero, none));
    };
    const auto shifted = [&](int64_t by) {
      return add(c.b, position, like(c.b, position, static_cast<double>(by)));
    };
    if (causal) allow(key, position);
    if (left >= 0) allow(shifted(-left), key);
    if (right >= 0) allow(key, shifted(right));
  }
  seen.push_back(scores);
  const DType soft = dtype_of_onnx(static_cast<int32_t>(c.integer("softmax_precision", 1)));
  Value weights = softmax(c.b, cast(c.b, scores, soft));  // 0 where every key is masked
  weights = cast(c.b, weights, dtype);
  seen.push_back(weights);
  Value out = numpy_matmul(c.b, weights, repeat_heads(c, h.v, count));
  if (rank3) out = merge_heads(c, transpose(c.b, out, kSwapHeads));
  if (mode < 0 || mode > 3) c.fail("qk_matmul_output_mode {} is unknown", mode);
  return {cast(c.b, out, dtype), present_k, present_v, cast(c.b, seen[static_cast<size_t>(mode)], dtype)};
}

// Scores and probabilities pass through graphs of the model's own.
Values flex_attention(C c) {
  for (size_t i = 0; i < 3; ++i) {
    if (c.rank(i) != 4) c.fail("q, k and v must have rank 4, operand {} is {}", i, text_of(c.type(i)));
  }
  const DType dtype = c.type(0).dtype;
  const Dim count = c.type(0).dim(1);
  const double scale_by =
      c.attribute("scale") != nullptr
          ? c.number("scale", 1)
          : 1 / std::sqrt(static_cast<double>(c.constant_dim(c.type(0).dim(3), "the head's width")));
  const DType soft = dtype_of_onnx(static_cast<int32_t>(c.integer("softmax_precision", 1)));
  const auto modify = [&](const char* name, Value x) {
    const OnnxAttribute* graph = c.attribute(name);
    if (graph == nullptr) return x;
    if (graph->kind != OnnxAttribute::Kind::g) c.fail("attribute '{}' is no graph", name);
    const Values results = c.run(*graph->g, {x});
    if (results.size() != 1 || c.b.type(results[0]) != c.b.type(x))
      c.fail("{} changes the type of its value", name);
    return results[0];
  };
  const Value kt = swap_last_two(c.b, repeat_heads(c, c.x(1), count));
  const Value scores = scale(c.b, numpy_matmul(c.b, cast(c.b, c.x(0), soft), cast(c.b, kt, soft)), scale_by);
  const Value weights = modify("prob_mod", softmax(c.b, modify("score_mod", scores)));
  return {numpy_matmul(c.b, cast(c.b, weights, dtype), repeat_heads(c, c.x(2), count))};
}

Values rotary_embedding(C c) {
  const bool rank3 = c.rank() == 3;
  Value x = rank3 ? split_heads(c, c.x(0), c.integer("num_heads", 0)) : transpose(c.b, c.x(0), kSwapHeads);
  const Type type = c.b.type(x);  // [B, S, H, D]
  const int64_t width = c.constant_dim(type.dim(3), "the head's width");
  const int64_t turned =
      c.integer("rotary_embedding_dim", 0) == 0 ? width : c.integer("rotary_embedding_dim", 0);
  if (turned < 2 || turned > width || turned % 2 != 0)
    c.fail("rotary_embedding_dim {} of a width of {}", turned, width);
  const int64_t half = turned / 2;
  const auto table = [&](size_t i) {  // [B or 1, S, 1, half]
    const Value rows = c.has(3) ? gather_wrapped(c.b, c.x(i), c.in[3], 0) : c.x(i);
    const Type rows_type = c.b.type(rows);
    if (rows_type.rank() != 3 || rows_type.dim(2) != Dim(half))
      c.fail("a table is {}, half of the width is {}", text_of(rows_type), half);
    return reshape(c.b, rows, {rows_type.dim(0), rows_type.dim(1), Dim(1), Dim(half)});
  };
  const Value cos = table(1), sin = table(2);
  const bool interleaved = c.integer("interleaved", 0) != 0;
  Value part = turned == width ? x : slice(c.b, x, 3, Dim(0), Dim(turned));
  // Pairs (i, i + half) or (2i, 2i + 1) lie along an axis of two.
  const Dims rows{type.dim(0), type.dim(1), type.dim(2)};
  const auto with = [&](std::initializer_list<int64_t> more) {
    Dims dims = rows;
    dims.insert(dims.end(), more.begin(), more.end());
    return dims;
  };
  const int64_t axis = interleaved ? 4 : 3;
  const Value pairs = reshape(c.b, part, interleaved ? with({half, 2}) : with({2, half}));
  const auto side = [&](int64_t k) {
    return reshape(c.b, slice(c.b, pairs, axis, Dim(k), Dim(1)), with({half}));
  };
  const Value first = side(0), second = side(1);
  const Value real = sub(c.b, mul(c.b, first, cos), mul(c.b, second, sin));
  const Value imaginary = add(c.b, mul(c.b, first, sin), mul(c.b, second, cos));
  const Dims apart = interleaved ? with({half, 1}) : with({1, half});
  Value y = reshape(c.b, concat(c.b, {reshape(c.b, real, apart), reshape(c.b, imaginary, apart)}, axis),
                    with({turned}));
  if (turned < width) y = concat(c.b, {y, slice(c.b, x, 3, Dim(turned), Dim(width - turned))}, 3);
  return {rank3 ? merge_heads(c, y) : transpose(c.b, y, kSwapHeads)};
}

// One step after the other:  s = e^g s + beta k (v - (e^g s)^T k)^T,  o = scale s^T q.
Values linear_attention(C c) {
  const std::string rule = c.text("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta",
             delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") c.fail("update_rule '{}' is unknown", rule);
  const int64_t heads = c.integer("q_num_heads", 0), shared = c.integer("kv_num_heads", 0);
  const DType dtype = c.type(0).dtype;
  c.want_rank(c.x(0), 3, "the query");
  const int64_t steps = c.constant_dim(c.type(0).dim(1), "the number of steps");
  if (steps > 256) c.fail("{} steps; at most 256 are written out", steps);
  const auto by_head = [&](size_t i, int64_t count) {  // [B, H, T, D]
    return transpose(c.b, split_heads(c, cast(c.b, c.x(i), DType::f32), count), kSwapHeads);
  };
  const Value q = by_head(0, heads), k = by_head(1, shared), v = by_head(2, shared);
  const Dim batch = c.b.type(q).dim(0), dk = c.b.type(k).dim(3), dv = c.b.type(v).dim(3);
  double scale_by = c.number("scale", 0);
  if (scale_by == 0) scale_by = 1 / std::sqrt(static_cast<double>(c.constant_dim(dk, "the head's width")));
  const Dims state_dims{batch, Dim(shared), dk, dv};
  Value state = c.has(3) ? cast(c.b, c.in[3], DType::f32) : broadcast(c.b, c.b.scalar(0), state_dims);
  // Of [B, H, T, n] step t as [B, H, 1, n].
  const auto at = [&](Value x, int64_t t) { return slice(c.b, x, 2, Dim(t), Dim(1)); };
  // One number a head, or one for each of the head's dk rows; beta [B, T, 1] is for all heads.
  const auto gate = [&](size_t i) {
    c.want_rank(c.x(i), 3, "a gate");
    const bool one = c.type(i).dim(2) == Dim(1);
    return by_head(i, one ? 1 : shared);
  };
  const Value decay = gated ? elementwise(c.b, "exp", {gate(4)}) : Value{};
  const Value beta = delta ? gate(5) : Value{};
  Values outputs;
  for (int64_t t = 0; t < steps; ++t) {
    const Value column = swap_last_two(c.b, at(k, t));  // [B, H, dk, 1]
    if (gated) state = mul(c.b, state, swap_last_two(c.b, at(decay, t)));
    Value added = at(v, t);  // [B, H, 1, dv]
    if (delta) added = mul(c.b, sub(c.b, added, numpy_matmul(c.b, at(k, t), state)), at(beta, t));
    state = add(c.b, state, mul(c.b, column, added));
    outputs.push_back(numpy_matmul(c.b, at(q, t), repeat_heads(c, state, Dim(heads))));  // [B, Hq, 1, dv]
  }
  if (outputs.empty()) c.fail("has no steps");
  const Value all = scale(c.b, outputs.size() == 1 ? outputs[0] : concat(c.b, outputs, 2), scale_by);
  return {cast(c.b, merge_heads(c, transpose(c.b, all, kSwapHeads)), dtype),
          cast(c.b, state, c.has(3) ? c.type(3).dtype : dtype)};
}

}  // namespace

void add_onnx_attention(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Attention", attention_of},
      {"ai.onnx.preview:FlexAttention", flex_attention},
      {"RotaryEmbedding", rotary_embedding},
      {"LinearAttention", linear_attention},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe

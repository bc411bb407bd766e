// Multi-head attention, its gradient, and its probabilities alone.
//   q [B, Sq, Hq, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv]; Hq a multiple of Hkv: query head h reads head
//   h*Hkv/Hq.
//   logits = cap(scale * q k^T) + bias - slope * |place - key|, with cap(x) = softcap * tanh(x / softcap)
//   out = dropout(softmax over keys, in f32) v   [B, Sq, Hq, Dv]
//   lse f32 [B, Hq, Sq] = log sum exp of the logits
// Keys at or beyond lengths[b] and queries at or beyond query_lengths[b] do not exist. Query i stands at a
// place among the keys: at key i where causal is top_left, else so that the last query stands at the last
// key, i + Sk - Sq; with query_lengths first and last are the row's own: i + lengths[b] - query_lengths[b]. A
// query sees the keys from place - window_left to place + window_right, when causal none beyond its place. A
// query that sees no key, or only logits of -inf, gives out 0, lse -inf and zero gradients; one that does not
// exist does so, too. NaN in q, k, v or bias gives NaN wherever it is seen, as does a logit of +inf. A scale
// of 0 or below it is a scale as any other. Dropout masks are philox.h's, at coordinates (ordinal of the
// batch row, head, query, key).
#pragma once
#include <optional>

#include "ir/builder.h"

namespace floe {

enum class Causal {
  none,
  top_left,      // query i sees keys 0..i
  bottom_right,  // query i sees keys 0..i + Sk - Sq: the last query sees all
};
std::string_view name_of(Causal causal);

struct AttentionArgs {
  Value q, k, v;
  Causal causal = Causal::none;
  std::optional<double> scale = {};  // 1 / sqrt(D)
  Value lengths = {};                // i32 [B]
  double dropout = 0;                // with seed i32 [] and ordinals i32 [B]
  Value seed = {};
  Value ordinals = {};
  int64_t op_id = 0;
  Value query_lengths = {};                                    // i32 [B]
  std::optional<int64_t> window_left = {}, window_right = {};  // unbounded
  double softcap = 0;                                          // none
  Value bias = {};                                             // f32 [B or 1, Hq or 1, Sq, Sk]
  Value slopes = {};                                           // ALiBi's, f32 [Hq]: they get no gradient
};
struct AttentionResult {
  Value out, lse;
};
AttentionResult attention(Builder& b, const AttentionArgs& args);

struct AttentionGrads {
  Value dq, dk, dv;
  Value dbias;  // where it was asked for
};
struct AttentionGradOptions {
  Value dlse = {};  // f32 [B, Hq, Sq], the gradient by lse
  bool bias_gradient = false;
};
// `args` as they were given to attention().
AttentionGrads attention_grad(Builder& b, const AttentionArgs& args, const AttentionResult& result,
                              Value dout, const AttentionGradOptions& options = {});

// Probabilities f32 [B, Hq, Sq, Sk], held whole: alignments for a person or a test. `v` and dropout are not
// read.
Value attention_weights(Builder& b, const AttentionArgs& args);

}  // namespace floe

// Multi-head attention, its gradient, and its probabilities alone.
//   q [B, Sq, Hq, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv]; Hq a multiple of Hkv: query head h reads head
//   h*Hkv/Hq. scores = scale * q k^T, softmax over keys in f32, out = dropout(probabilities) v   [B, Sq, Hq,
//   Dv] lse f32 [B, Hq, Sq] = log sum exp of the scores
// Keys at or beyond lengths[b] do not exist. A row with no key gives out 0, lse -inf and zero gradients.
// Dropout masks are philox.h's, at coordinates (ordinal of the batch row, head, query, key).
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
};
struct AttentionResult {
  Value out, lse;
};
AttentionResult attention(Builder& b, const AttentionArgs& args);

struct AttentionGrads {
  Value dq, dk, dv;
};
// `args` as they were given to attention().
AttentionGrads attention_grad(Builder& b, const AttentionArgs& args, const AttentionResult& result,
                              Value dout);

// Probabilities f32 [B, Hq, Sq, Sk], held whole: alignments for a person or a test. `v` and dropout are not
// read.
Value attention_weights(Builder& b, const AttentionArgs& args);

}  // namespace floe

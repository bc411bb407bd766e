// Layers as functions that append to a graph: (context, values) -> value. The place of a layer,
// Builder::where(), is also the prefix of its weights' names, so a layer asks for them by their last words.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "ir/builder.h"
#include "nn/config.h"
#include "nn/weights.h"

namespace floe {

// What every layer needs. A weight becomes a state node when it is first asked for, once.
class ModelContext {
 public:
  ModelContext(Builder& builder, const ModelConfig& config);  // the config must be valid

  Builder& b;
  const ModelConfig& config;
  // Inputs of the random ops; unset in graphs without dropout.
  Value seed;      // i32 []
  Value ordinals;  // i32 [B], the place of each sentence in the step's global batch

  Value weight(std::string_view full_name);
  Value weight_here(std::string_view last_words) { return weight(b.where() + "." + std::string(last_words)); }

 private:
  std::map<std::string, WeightSpec, std::less<>> table_;
  std::map<std::string, Value, std::less<>> made_;
};

enum class Side { source, target };

// x [..., in] -> [..., out] by weights NAME.weight [out, in] and, where the config has biases, NAME.bias.
Value linear_layer(ModelContext& m, Value x, std::string_view name);

Value norm_layer(ModelContext& m, Value x);  // weights norm.gamma, norm.beta
Value residual_dropout(ModelContext& m, Value x);

// pre: x + dropout(branch(norm(x)));  post: norm(x + dropout(branch(x))). Inside, `name` extends the place.
Value residual(ModelContext& m, std::string_view name, Value x, const std::function<Value(Value)>& branch);

// ids [B, T] -> [B, T, d_model] with positions added and dropout applied. Without `positions` [B, T] the
// tokens stand at 0, 1, 2, ...
Value embed(ModelContext& m, Side side, Value ids, Value positions = {});
Value first_positions(ModelContext& m, Value ids);  // i32 [B, T]: 0, 1, 2, ... in each row

struct Projected {
  Value q;  // [B, T, heads, head_dim]
  Value k;  // [B, T, kv_heads, head_dim]
  Value v;
};
// The merged projection of self attention, cut into views; `positions` [B, T] turn it when they are rotary.
Projected project_qkv(ModelContext& m, Value x, Value positions);
Value project_query(ModelContext& m, Value x);                 // of cross attention
Projected project_keys_values(ModelContext& m, Value memory);  // of cross attention; no q
Value project_out(ModelContext& m, Value attended);            // [B, T, heads, head_dim] -> [B, T, d_model]

// Dense attention with dropout on the probabilities where the config asks for it: [B, T, heads, head_dim].
// Keys from lengths[b] on are not seen.
Value attend_to_lengths(ModelContext& m, const Projected& p, Value lengths);
Value attend_causally(ModelContext& m, const Projected& p);

Value feed_forward(ModelContext& m, Value x);

// Source ids [B, S] and lengths [B] -> memory [B, S, d_model].
Value encoder_stack(ModelContext& m, Value source, Value lengths);

// The decoder's layers over x [B, T, d_model]; how queries meet keys is the caller's: dense for whole
// sequences, through caches for steps (nn/kv_cache.h). Both are called in the attention layer's place.
struct DecoderAttention {
  std::function<Value(int64_t layer, const Projected&)> self;
  std::function<Value(int64_t layer, Value q)> cross;  // unused by decoder_only
};
Value decoder_stack(ModelContext& m, Value x, Value positions, const DecoderAttention& attention);

Value output_weight(ModelContext& m);           // [target_vocabulary, d_model]
Value output_bias(ModelContext& m);             // none where the config has none
Value output_logits(ModelContext& m, Value x);  // [..., d_model] -> [..., target_vocabulary]

}  // namespace floe

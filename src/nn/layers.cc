#include "nn/layers.h"

#include <cmath>

#include "base/error.h"
#include "ops/attention/attention.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/iota/iota.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/matmul/matmul.h"
#include "ops/reshape/reshape.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/slice/slice.h"

namespace floe {

ModelContext::ModelContext(Builder& builder, const ModelConfig& config_in) : b(builder), config(config_in) {
  config.validate();
  for (WeightSpec& spec : weight_table(config)) {
    std::string name = spec.name;
    table_.emplace(std::move(name), std::move(spec));
  }
}

Value ModelContext::weight(std::string_view full_name) {
  const auto found = made_.find(full_name);
  if (found != made_.end()) return found->second;
  const auto spec = table_.find(full_name);
  FLOE_CHECK(spec != table_.end(), "no weight '{}' in the table", full_name);
  const Value value = b.state(full_name, spec->second.type(), spec->second.marks());
  made_.emplace(full_name, value);
  return value;
}

Value linear_layer(ModelContext& m, Value x, std::string_view name) {
  const Builder::Scope scope(m.b, name);
  const Value bias = m.config.biases ? m.weight_here("bias") : Value{};
  return matmul(m.b, x, m.weight_here("weight"), {.transpose_b = true, .bias = bias});
}

Value norm_layer(ModelContext& m, Value x) {
  const Builder::Scope scope(m.b, "norm");
  if (m.config.norm_kind == NormKind::rms_norm) {
    return rms_norm(m.b, x, m.weight_here("gamma"), m.config.norm_epsilon);
  }
  return layer_norm(m.b, x, m.weight_here("gamma"), m.weight_here("beta"), m.config.norm_epsilon);
}

namespace {
Value dropout_at(ModelContext& m, Value x, double rate) {
  return m.seed ? dropout(m.b, x, m.seed, m.ordinals, rate) : x;
}
}  // namespace

Value residual_dropout(ModelContext& m, Value x) { return dropout_at(m, x, m.config.residual_dropout); }

Value residual(ModelContext& m, std::string_view name, Value x, const std::function<Value(Value)>& branch) {
  const Builder::Scope scope(m.b, name);
  if (m.config.norm_placement == NormPlacement::pre) {
    return add(m.b, x, residual_dropout(m, branch(norm_layer(m, x))));
  }
  return norm_layer(m, add(m.b, x, residual_dropout(m, branch(x))));
}

namespace {

std::string embedding_name(const ModelConfig& config, Side side) {
  if (config.has_encoder() && (config.tied == Tied::all || config.tied == Tied::source_target)) {
    return "embedding.weight";
  }
  return side == Side::source ? "encoder.embedding.weight" : "decoder.embedding.weight";
}

Value position_rows(ModelContext& m, Side side, Value ids, Value positions) {
  const std::string name = m.config.positions == PositionKind::sinusoidal ? "positions.sinusoid"
                           : side == Side::source                         ? "encoder.positions.weight"
                                                                          : "decoder.positions.weight";
  const Value table = m.weight(name);
  if (positions) return embedding(m.b, table, positions);
  return slice(m.b, table, 0, Dim(0), m.b.type(ids).dim(1));  // [T, d]
}

}  // namespace

Value embed(ModelContext& m, Side side, Value ids, Value positions) {
  const Builder::Scope scope(m.b, side == Side::source ? "encoder.embedding" : "decoder.embedding");
  Value x = embedding(m.b, m.weight(embedding_name(m.config, side)), ids);
  if (m.config.scale_embeddings) x = scale(m.b, x, std::sqrt(static_cast<double>(m.config.d_model)));
  if (m.config.positions == PositionKind::sinusoidal || m.config.positions == PositionKind::learned) {
    x = add(m.b, x, position_rows(m, side, ids, positions));
  }
  return residual_dropout(m, x);
}

Value first_positions(ModelContext& m, Value ids) { return iota(m.b, m.b.type(ids).dims, 1); }

namespace {

// [B, T, heads * head_dim] -> [B, T, heads, head_dim]
Value split_heads(ModelContext& m, Value x, int64_t heads) {
  const Type type = m.b.type(x);
  return reshape(m.b, x, {type.dim(0), type.dim(1), Dim(heads), Dim(m.config.head_dim())});
}

}  // namespace

Projected project_qkv(ModelContext& m, Value x, Value positions) {
  const int64_t hq = m.config.heads;
  const int64_t hkv = m.config.kv_heads;
  const Value all = split_heads(m, linear_layer(m, x, "qkv"), hq + 2 * hkv);
  Value q = slice(m.b, all, 2, Dim(0), Dim(hq));
  Value k = slice(m.b, all, 2, Dim(hq), Dim(hkv));
  const Value v = slice(m.b, all, 2, Dim(hq + hkv), Dim(hkv));
  if (m.config.positions == PositionKind::rotary) {
    const RopeOptions options{.base = m.config.rotary_base, .interleaved = m.config.rotary_interleaved};
    q = rope(m.b, q, positions, options);
    k = rope(m.b, k, positions, options);
  }
  return {q, k, v};
}

Value project_query(ModelContext& m, Value x) {
  return split_heads(m, linear_layer(m, x, "q"), m.config.heads);
}

Projected project_keys_values(ModelContext& m, Value memory) {
  const int64_t hkv = m.config.kv_heads;
  const Value both = split_heads(m, linear_layer(m, memory, "kv"), 2 * hkv);
  return {{}, slice(m.b, both, 2, Dim(0), Dim(hkv)), slice(m.b, both, 2, Dim(hkv), Dim(hkv))};
}

Value project_out(ModelContext& m, Value attended) {
  const Type type = m.b.type(attended);
  return linear_layer(
      m, reshape(m.b, attended, {type.dim(0), type.dim(1), Dim(m.config.heads * m.config.head_dim())}),
      "out");
}

namespace {
Value attend(ModelContext& m, AttentionArgs args) {
  if (m.seed && m.config.attention_dropout > 0) {
    args.dropout = m.config.attention_dropout;
    args.seed = m.seed;
    args.ordinals = m.ordinals;
    args.op_id = m.b.next_op_id();
  }
  return attention(m.b, args).out;
}
}  // namespace

Value attend_to_lengths(ModelContext& m, const Projected& p, Value lengths) {
  return attend(m, {.q = p.q, .k = p.k, .v = p.v, .lengths = lengths});
}

Value attend_causally(ModelContext& m, const Projected& p) {
  return attend(m, {.q = p.q, .k = p.k, .v = p.v, .causal = Causal::top_left});
}

Value feed_forward(ModelContext& m, Value x) {
  Value inner;
  if (m.config.activation == Activation::swiglu) {
    const Value both = linear_layer(m, x, "up");
    const Value gate = slice(m.b, both, 2, Dim(0), Dim(m.config.d_ff));
    const Value up = slice(m.b, both, 2, Dim(m.config.d_ff), Dim(m.config.d_ff));
    inner = mul(m.b, elementwise(m.b, "silu", {gate}), up);
  } else {
    // Beside its product, which it joins where nobody else reads that (passes/fuse.h): a gradient that does
    // then finds it, and need not make it again.
    inner = elementwise(m.b, name_of(m.config.activation), {linear_layer(m, x, "up")});
  }
  return linear_layer(m, dropout_at(m, inner, m.config.activation_dropout), "down");
}

Value encoder_stack(ModelContext& m, Value source, Value lengths) {
  Value x = embed(m, Side::source, source);
  const Builder::Scope scope(m.b, "encoder");
  const Value positions = m.config.positions == PositionKind::rotary ? first_positions(m, source) : Value{};
  for (int64_t i = 0; i < m.config.encoder_layers; ++i) {
    const Builder::Scope layer(m.b, std::to_string(i));
    x = residual(m, "self_attention", x, [&](Value y) {
      return project_out(m, attend_to_lengths(m, project_qkv(m, y, positions), lengths));
    });
    x = residual(m, "feed_forward", x, [&](Value y) { return feed_forward(m, y); });
  }
  return m.config.norm_placement == NormPlacement::pre ? norm_layer(m, x) : x;
}

Value decoder_stack(ModelContext& m, Value x, Value positions, const DecoderAttention& attention) {
  const Builder::Scope scope(m.b, "decoder");
  for (int64_t i = 0; i < m.config.decoder_layers; ++i) {
    const Builder::Scope layer(m.b, std::to_string(i));
    x = residual(m, "self_attention", x,
                 [&](Value y) { return project_out(m, attention.self(i, project_qkv(m, y, positions))); });
    if (m.config.has_encoder()) {
      x = residual(m, "cross_attention", x,
                   [&](Value y) { return project_out(m, attention.cross(i, project_query(m, y))); });
    }
    x = residual(m, "feed_forward", x, [&](Value y) { return feed_forward(m, y); });
  }
  return m.config.norm_placement == NormPlacement::pre ? norm_layer(m, x) : x;
}

Value output_weight(ModelContext& m) {
  const bool tied = m.config.tied == Tied::all || m.config.tied == Tied::target_output;
  return m.weight(tied ? embedding_name(m.config, Side::target) : "output.weight");
}

Value output_bias(ModelContext& m) { return m.config.output_bias ? m.weight("output.bias") : Value{}; }

Value output_logits(ModelContext& m, Value x) {
  const Builder::Scope scope(m.b, "output");
  return linear(m.b, x, output_weight(m), output_bias(m));
}

}  // namespace floe

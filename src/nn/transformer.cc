#include "nn/transformer.h"

#include "base/error.h"
#include "nn/layers.h"
#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/iota/iota.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"

namespace floe {
namespace {

struct Inputs {
  ModelContext& m;
  Dim symbol(std::string_view name) { return m.b.graph().symbols().declare(name); }
  Dim length(std::string_view name) {  // of a sequence: it must fit the tables of positions
    return m.b.graph().symbols().declare(name, {.max = m.config.max_positions});
  }
  Value ids(std::string_view name, Dims dims) { return m.b.input(name, {DType::i32, std::move(dims)}); }
};

struct SequenceValues {
  Value x;           // [B, T, d_model], the last layer's
  Value target_out;  // [B, T]
  Value alignment;   // [B, T, S]
};

// Mean over heads of softmax(q k^T): [B, T, S].
Value mean_probabilities(ModelContext& m, Value q, Value k, Value lengths, std::vector<int64_t> heads) {
  const Value all = attention_weights(m.b, {.q = q, .k = k, .lengths = lengths});  // [B, heads, T, S]
  if (heads.empty()) {
    for (int64_t h = 0; h < m.config.heads; ++h) heads.push_back(h);
  }
  Value sum;
  for (const int64_t head : heads) {
    const Value one = slice(m.b, all, 1, Dim(head), Dim(1));
    sum = sum ? add(m.b, sum, one) : one;
  }
  const Type type = m.b.type(sum);
  return scale(m.b, reshape(m.b, sum, {type.dim(0), type.dim(2), type.dim(3)}),
               1.0 / static_cast<double>(heads.size()));
}

void check_alignment(const ModelConfig& config, const AlignmentOptions& alignment) {
  if (!config.has_encoder()) fail_user("alignment: a decoder_only model has no cross attention");
  if (alignment.layer < 0 || alignment.layer >= config.decoder_layers) {
    fail_user("alignment: layer {} is outside the {} decoder layers", alignment.layer, config.decoder_layers);
  }
  for (const int64_t head : alignment.heads) {
    if (head < 0 || head >= config.heads) {
      fail_user("alignment: head {} is outside the {} heads", head, config.heads);
    }
  }
}

// Both stacks over whole sequences.
SequenceValues build_sequences(ModelContext& m, bool dropout, const AlignmentOptions* alignment) {
  Inputs in{m};
  const Dim B = in.symbol("B");
  const Dim T = in.length("T");
  Value source, source_lengths, memory;
  if (m.config.has_encoder()) {
    source = in.ids("source", {B, in.length("S")});
    source_lengths = in.ids("source_lengths", {B});
  }
  const Value target_in = in.ids("target_in", {B, T});
  SequenceValues result;
  result.target_out = in.ids("target_out", {B, T});
  if (dropout && m.config.has_dropout()) {
    m.seed = in.ids("seed", {});
    m.ordinals = in.ids("ordinals", {B});
  }
  if (m.config.has_encoder()) memory = encoder_stack(m, source, source_lengths);

  DecoderAttention attention;
  // Padding lies to the right of every token, so the causal mask keeps it out of sight.
  attention.self = [&](int64_t, const Projected& p) { return attend_causally(m, p); };
  attention.cross = [&](int64_t layer, Value q) {
    Projected p = project_keys_values(m, memory);
    p.q = q;
    if (alignment != nullptr && alignment->layer == layer) {
      result.alignment = mean_probabilities(m, p.q, p.k, source_lengths, alignment->heads);
    }
    return attend_to_lengths(m, p, source_lengths);
  };
  const Value positions =
      m.config.positions == PositionKind::rotary ? first_positions(m, target_in) : Value{};
  result.x = decoder_stack(m, embed(m, Side::target, target_in), positions, attention);
  return result;
}

}  // namespace

TrainingValues build_training(Builder& b, const ModelConfig& config, const TrainingOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1)) {
    fail_user("training: label_smoothing must be in [0, 1), got {}", options.label_smoothing);
  }
  ModelContext m(b, config);
  const SequenceValues s = build_sequences(m, options.dropout, nullptr);
  const Builder::Scope scope(b, "output");
  const CrossEntropySums sums = linear_cross_entropy(b, {.x = s.x,
                                                         .weight = output_weight(m),
                                                         .targets = s.target_out,
                                                         .bias = output_bias(m),
                                                         .label_smoothing = options.label_smoothing,
                                                         .ignore_index = config.pad_id});
  return {sums.loss, sums.nll, sums.tokens};
}

Graph training_graph(const ModelConfig& config, const TrainingOptions& options) {
  Graph graph(all_ops(), "training");
  Builder b(graph);
  const TrainingValues values = build_training(b, config, options);
  b.output("loss", values.loss);
  b.output("nll", values.nll);
  b.output("tokens", values.tokens);
  return graph;
}

ScoringValues build_scoring(Builder& b, const ModelConfig& config, const ScoringOptions& options) {
  if (options.alignment) check_alignment(config, *options.alignment);
  ModelContext m(b, config);
  const SequenceValues s =
      build_sequences(m, /*dropout=*/false, options.alignment ? &*options.alignment : nullptr);
  ScoringValues values;
  values.alignment = s.alignment;
  values.log_probs = log_softmax(b, output_logits(m, s.x));  // [B, T, V]
  // The target's entry is picked by comparing ids: every other term of the sum is an exact 0.
  const Builder::Scope scope(b, "output");
  const Type target = b.type(s.target_out);
  const Value vocabulary = iota(b, {Dim(config.target_vocabulary)}, 0);
  const Value is_target =
      elementwise(b, "eq", {vocabulary, reshape(b, s.target_out, {target.dim(0), target.dim(1), Dim(1)})});
  const Value zero = b.scalar(0);
  const Value picked = reduce_sum(b, select(b, is_target, values.log_probs, zero), {2}, /*keep=*/false);
  const Value is_token = elementwise(b, "ne", {s.target_out, b.scalar(config.pad_id, DType::i32)});
  values.scores = select(b, is_token, picked, zero);
  return values;
}

Graph scoring_graph(const ModelConfig& config, const ScoringOptions& options) {
  Graph graph(all_ops(), "scoring");
  Builder b(graph);
  const ScoringValues values = build_scoring(b, config, options);
  b.output("scores", values.scores);
  if (options.all_log_probs) b.output("log_probs", values.log_probs);
  if (options.alignment) b.output("alignment", values.alignment);
  return graph;
}

Graph encode_graph(const ModelConfig& config, const CacheOptions& options) {
  options.validate();
  if (!config.has_encoder()) fail_user("encode: a decoder_only model has no encoder");
  Graph graph(all_ops(), "encode");
  Builder b(graph);
  ModelContext m(b, config);
  Inputs in{m};
  const Dim B = in.symbol("B");
  const Value source = in.ids("source", {B, in.length("S")});
  const Value lengths = in.ids("source_lengths", {B});
  const Value table = in.ids("cross_table", {B, in.symbol("W")});
  const Value memory = encoder_stack(m, source, lengths);
  for (int64_t i = 0; i < config.decoder_layers; ++i) {
    const Builder::Scope scope(b, fmt::format("decoder.{}.cross_attention", i));
    write_cross(m, options, i, project_keys_values(m, memory), table);
  }
  return graph;
}

StepValues build_step(Builder& b, const ModelConfig& config, const StepOptions& options,
                      const StepGiven& given) {
  options.cache.validate();
  ModelContext m(b, config);
  Inputs in{m};
  StepValues v;
  const Dim R = in.symbol("R");
  const Dim T = options.prefix == Prefix::one ? Dim(1) : in.length("T");
  v.tokens = given.tokens ? given.tokens : in.ids("tokens", {R, T});
  v.positions = given.positions ? given.positions : in.ids("positions", {R});
  v.table = given.table ? given.table : in.ids("table", {R, in.symbol("P")});
  v.lengths = given.lengths ? given.lengths : in.ids("lengths", {R});
  if (config.has_encoder()) {
    v.cross_table = in.ids("cross_table", {R, in.symbol("W")});
    v.cross_lengths = in.ids("cross_lengths", {R});
  }
  Value positions = reshape(b, v.positions, {R, Dim(1)});
  if (options.prefix == Prefix::many) {
    v.last = in.ids("last", {R});
    positions = add(b, positions, iota(b, {T}, 0));  // [R, T]
  }
  DecoderAttention attention;
  attention.self = [&](int64_t layer, const Projected& p) {
    return attend_cached(m, options.cache, layer, p, {v.table, v.positions, v.lengths});
  };
  attention.cross = [&](int64_t layer, Value q) {
    return attend_cross_cached(m, options.cache, layer, q, v.cross_table, v.cross_lengths);
  };
  Value x = decoder_stack(m, embed(m, Side::target, v.tokens, positions), positions, attention);  // [R, T, d]
  x = reshape(b, x, {R * T, Dim(config.d_model)});
  if (options.prefix == Prefix::many) x = embedding(b, x, v.last);  // rows by number: [R, d]
  v.logits = output_logits(m, x);
  return v;
}

Graph step_graph(const ModelConfig& config, const StepOptions& options) {
  Graph graph(all_ops(), options.prefix == Prefix::one ? "step" : "prefix");
  Builder b(graph);
  b.output("logits", build_step(b, config, options).logits);
  return graph;
}

StepValues build_uncached_step(Builder& b, const ModelConfig& config, const CacheOptions& options,
                               Value tokens) {
  options.validate();
  ModelContext m(b, config);
  Inputs in{m};
  StepValues v;
  const Dim R = in.symbol("R");
  v.tokens = tokens ? tokens
                    : in.ids("tokens",
                             {R, b.graph().symbols().declare("T", {.min = 1, .max = config.max_positions})});
  const Dim T = b.type(v.tokens).dim(1);
  if (config.has_encoder()) {
    v.cross_table = in.ids("cross_table", {R, in.symbol("W")});
    v.cross_lengths = in.ids("cross_lengths", {R});
  }
  DecoderAttention attention;
  attention.self = [&](int64_t, const Projected& p) { return attend_causally(m, p); };
  attention.cross = [&](int64_t layer, Value q) {
    return attend_cross_cached(m, options, layer, q, v.cross_table, v.cross_lengths);
  };
  const Value positions = config.positions == PositionKind::rotary ? first_positions(m, v.tokens) : Value{};
  const Value x = decoder_stack(m, embed(m, Side::target, v.tokens), positions, attention);
  const Value last = slice(b, x, 1, T - Dim(1), Dim(1));  // [R, 1, d]
  v.logits = output_logits(m, reshape(b, last, {R, Dim(config.d_model)}));
  return v;
}

Graph uncached_step_graph(const ModelConfig& config, const CacheOptions& options) {
  Graph graph(all_ops(), "uncached_step");
  Builder b(graph);
  b.output("logits", build_uncached_step(b, config, options).logits);
  return graph;
}

}  // namespace floe

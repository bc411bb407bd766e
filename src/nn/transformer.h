// Graphs of a Transformer: training, scoring, encoding, decoding steps. Ids and lengths are i32; a batch is
// padded on the right. Weights are states named as in nn/weights.h, caches as in nn/kv_cache.h.
//
// build_training, build_scoring and build_step append to a Builder and return the values, so that a caller
// can go on from there: an optimizer from a loss, a search from logits.
#pragma once
#include <optional>
#include <vector>

#include "ir/builder.h"
#include "nn/config.h"
#include "nn/kv_cache.h"

namespace floe {

// Inputs: source [B, S], source_lengths [B] (encoder_decoder only), target_in [B, T], target_out [B, T]; with
// dropout also seed [] and ordinals [B]. Outputs, sums over positions whose target is not pad_id: loss
// (smoothed), nll, tokens.
struct TrainingOptions {
  double label_smoothing = 0.1;
  bool dropout = true;  // false: the config's rates count as 0 (validation)
};
struct TrainingValues {
  Value loss, nll, tokens;  // f32 []
};
TrainingValues build_training(Builder& b, const ModelConfig& config, const TrainingOptions& options);
Graph training_graph(const ModelConfig& config, const TrainingOptions& options);

// Inputs as for training without dropout. Output scores [B, T]: log-probability of target_out, 0 where it is
// pad_id.
struct AlignmentOptions {
  int64_t layer = 0;
  std::vector<int64_t> heads;  // empty: all
};
struct ScoringOptions {
  bool all_log_probs = false;  // also output log_probs [B, T, target_vocabulary]
  // Also output alignment [B, T, S]: cross-attention probabilities, averaged over heads; row t belongs to
  // target_out[t].
  std::optional<AlignmentOptions> alignment = std::nullopt;
};
struct ScoringValues {
  Value scores, log_probs, alignment;
};
ScoringValues build_scoring(Builder& b, const ModelConfig& config, const ScoringOptions& options);
Graph scoring_graph(const ModelConfig& config, const ScoringOptions& options);

// Inputs: source [B, S], source_lengths [B], cross_table [B, W]. No output; updates every cross cache state.
Graph encode_graph(const ModelConfig& config, const CacheOptions& options);

// One step of R rows. Inputs:
//   tokens         [R, 1], or [R, T] when prefix = many
//   positions      [R]     position of tokens[r][0]; positions + T may not pass max_positions
//   table, lengths [R, P], [R]   nn/kv_cache.h; lengths[r] = positions[r] + T
//   cross_table, cross_lengths  [R, W], [R]   encoder_decoder only
//   last           [R]     prefix = many only: r * T + index of row r's last token; the tokens beyond it are
//                          padding, whose table entries are -1 or which later steps overwrite
// Output logits [R, target_vocabulary] of the row's last token; updates the self caches.
enum class Prefix { one, many };
struct StepOptions {
  CacheOptions cache;
  Prefix prefix = Prefix::one;
};
struct StepValues {
  Value tokens, positions, table, lengths, cross_table, cross_lengths, last;
  Value logits;
};
// What the caller computes in the graph takes the place of the input of that name: a search keeps its rows in
// states. Dims are those of the input.
struct StepGiven {
  Value tokens, positions, table, lengths;
};
StepValues build_step(Builder& b, const ModelConfig& config, const StepOptions& options,
                      const StepGiven& given = {});
Graph step_graph(const ModelConfig& config, const StepOptions& options);

// The same logits with no self cache: tokens [R, T] is the whole prefix, all rows of one length, read anew at
// each step. Keeps the cross cache. For comparison.
// `tokens`, where given, takes the input's place.
StepValues build_uncached_step(Builder& b, const ModelConfig& config, const CacheOptions& options,
                               Value tokens = {});
Graph uncached_step_graph(const ModelConfig& config, const CacheOptions& options);

}  // namespace floe

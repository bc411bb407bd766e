// Sentences with their translations as ids, for graphs that read whole sequences (nn's scoring_graph): what
// calibrates and compares runs over.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"
#include "translate/engine.h"
#include "translate/translator.h"

namespace floe {

struct IdPair {
  std::vector<int32_t> source, target;  // source as the encoder reads it; target without start and end
};

// Lines, blank ones left out and long ones cut, with the engine's own greedy translations.
std::vector<IdPair> greedy_pairs(const ModelText& text, DecodeEngine& engine,
                                 std::span<const std::string> lines);
// With given translations, of as many lines. Pairs with a blank side are left out.
std::vector<IdPair> given_pairs(const ModelText& text, std::span<const std::string> source,
                                std::span<const std::string> target);

// Feeds of a batch, padded on the right.
struct PairBatch {
  PairBatch(const ModelConfig& config, std::span<const IdPair* const> pairs);
  std::vector<Feed> feeds(const ModelConfig& config) const;

  Tensor source, source_lengths, target_in, target_out;
  std::vector<int64_t> source_tokens, target_tokens;  // of each pair, the start token counted
};

// Calls f for batches of at most so many padded tokens, longest first.
void for_each_batch(const ModelConfig& config, std::span<const IdPair> pairs, int64_t batch_tokens,
                    const std::function<void(const PairBatch&)>& f);

}  // namespace floe

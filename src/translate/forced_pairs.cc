#include "translate/forced_pairs.h"

#include <algorithm>

#include "base/error.h"
#include "text/lines.h"
#include "translate/batches.h"

namespace floe {
namespace {

std::vector<int32_t> cut_ids(const TextCodec& codec, const std::string& line, int64_t most) {
  std::vector<int32_t> ids = codec.encode(line).ids;
  if (static_cast<int64_t>(ids.size()) > most) ids.resize(static_cast<size_t>(most));
  return ids;
}

std::vector<int32_t> source_ids(const ModelText& text, const std::string& line) {
  std::vector<int32_t> ids = cut_ids(text.source, line, text.max_source - (text.source_ends ? 1 : 0));
  if (!ids.empty() && text.source_ends) ids.push_back(text.eos_id);
  return ids;
}

Tensor padded(size_t rows, size_t width, int32_t pad) {
  return Tensor::from_ints({static_cast<int64_t>(rows), static_cast<int64_t>(width)},
                           std::vector<int32_t>(rows * width, pad));
}

}  // namespace

std::vector<IdPair> greedy_pairs(const ModelText& text, DecodeEngine& engine,
                                 std::span<const std::string> lines) {
  std::vector<SequenceRow> rows;
  for (const std::string& line : lines) {
    if (is_blank(line)) continue;
    SequenceRow row{.source = source_ids(text, line), .ordinal = rows.size()};
    if (!row.source.empty()) rows.push_back(std::move(row));
  }
  SearchOptions search;
  search.beam = 1;
  search.ends = {text.eos_id};
  search.suppressed = text.silent;
  const auto found = engine.decode(rows, search, {});
  std::vector<IdPair> pairs;
  for (size_t i = 0; i < rows.size(); ++i) {
    IdPair pair{std::move(rows[i].source), found[i].front().tokens};
    if (!pair.target.empty() && pair.target.back() == text.eos_id) pair.target.pop_back();
    if (static_cast<int64_t>(pair.target.size()) > text.max_target)
      pair.target.resize(static_cast<size_t>(text.max_target));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

std::vector<IdPair> given_pairs(const ModelText& text, std::span<const std::string> source,
                                std::span<const std::string> target) {
  if (source.size() != target.size())
    fail_user("{} source lines with {} target lines", source.size(), target.size());
  std::vector<IdPair> pairs;
  for (size_t i = 0; i < source.size(); ++i) {
    if (is_blank(source[i]) || is_blank(target[i])) continue;
    pairs.push_back({source_ids(text, source[i]), cut_ids(text.target, target[i], text.max_target)});
  }
  return pairs;
}

PairBatch::PairBatch(const ModelConfig& config, std::span<const IdPair* const> pairs) {
  size_t source_width = 0, target_width = 0;
  for (const IdPair* pair : pairs) {
    source_width = std::max(source_width, pair->source.size());
    target_width = std::max(target_width, pair->target.size() + 1);
  }
  source = padded(pairs.size(), source_width, config.pad_id);
  target_in = padded(pairs.size(), target_width, config.pad_id);
  target_out = padded(pairs.size(), target_width, config.pad_id);
  std::vector<int32_t> lengths;
  for (size_t r = 0; r < pairs.size(); ++r) {
    const IdPair& pair = *pairs[r];
    std::copy(pair.source.begin(), pair.source.end(), source.as<int32_t>() + r * source_width);
    int32_t* in = target_in.as<int32_t>() + r * target_width;
    int32_t* out = target_out.as<int32_t>() + r * target_width;
    in[0] = config.start_id;
    std::copy(pair.target.begin(), pair.target.end(), in + 1);
    std::copy(pair.target.begin(), pair.target.end(), out);
    out[pair.target.size()] = config.eos_id;
    lengths.push_back(static_cast<int32_t>(pair.source.size()));
    source_tokens.push_back(static_cast<int64_t>(pair.source.size()));
    target_tokens.push_back(static_cast<int64_t>(pair.target.size()) + 1);
  }
  source_lengths = Tensor::from_ints({static_cast<int64_t>(pairs.size())}, lengths);
}

std::vector<Feed> PairBatch::feeds(const ModelConfig& config) const {
  std::vector<Feed> list{{"target_in", view_of(target_in)}, {"target_out", view_of(target_out)}};
  if (config.has_encoder()) {
    list.push_back({"source", view_of(source)});
    list.push_back({"source_lengths", view_of(source_lengths)});
  }
  return list;
}

void for_each_batch(const ModelConfig& config, std::span<const IdPair> pairs, int64_t batch_tokens,
                    const std::function<void(const PairBatch&)>& f) {
  std::vector<int64_t> lengths;
  for (const IdPair& pair : pairs)
    lengths.push_back(static_cast<int64_t>(std::max(pair.source.size(), pair.target.size() + 1)));
  for (const auto& batch : make_batches(lengths, {.tokens = batch_tokens})) {
    std::vector<const IdPair*> members;
    for (const size_t i : batch) members.push_back(&pairs[i]);
    f(PairBatch(config, members));
  }
}

}  // namespace floe

// A decoder whose translations are plain to see: the source's ids again, in their order, each with its
// attention.
#pragma once
#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "translate/translator.h"

namespace floe {

// <pad> <unk> <s> </s> a b c d, and what the test adds.
inline Vocabulary letters(const std::vector<std::string>& more = {}) {
  std::vector<std::string> tokens = {"<pad>", "<unk>", "<s>", "</s>", "a", "b", "c", "d"};
  tokens.insert(tokens.end(), more.begin(), more.end());
  return {tokens, "letters", "<unk>"};
}

inline ModelText letter_text(const std::vector<std::string>& more = {},
                             TokenSplit split = TokenSplit::spaces) {
  const TextCodec codec(letters(more), split, {0, 2, 3});
  return {
      .source = codec, .target = codec, .source_ends = true, .eos_id = 3, .max_source = 16, .max_target = 40};
}

class FakeDecoder : public SequenceDecoder {
 public:
  std::vector<std::vector<Hypothesis>> decode(std::span<const SequenceRow> rows, const SearchOptions& options,
                                              const AttentionRequest& request) override {
    ++calls;
    int64_t longest = 0;
    for (const SequenceRow& row : rows) {
      longest = std::max(longest, static_cast<int64_t>(row.source.size()));
      if (std::find(row.source.begin(), row.source.end(), unbearable) != row.source.end())
        throw std::bad_alloc();
    }
    if (longest * static_cast<int64_t>(rows.size()) > memory) throw OutOfMemory("out of device memory");
    batches.push_back(rows.size());
    std::vector<std::vector<Hypothesis>> out;
    for (const SequenceRow& row : rows) {
      seen.push_back(row);
      search = options;
      attention = request;
      out.push_back(answer ? answer(row) : std::vector{copy(row, request)});
    }
    return out;
  }

  static Hypothesis copy(const SequenceRow& row, const AttentionRequest& request) {
    Hypothesis h;
    h.tokens.assign(row.source.begin(), row.source.end() - 1);
    h.log_prob = -static_cast<double>(h.tokens.size());
    h.score = h.log_prob / static_cast<double>(h.tokens.size() + 1);
    h.ended = true;
    for (size_t i = 0; request.wanted && i < h.tokens.size(); ++i) {
      h.attention.emplace_back(row.source.size(), 0.0f);
      h.attention[i][i] = 0.5f;
      h.attention[i].back() = 0.5f;  // the end token's share
    }
    return h;
  }

  std::function<std::vector<Hypothesis>(const SequenceRow&)> answer;
  int64_t memory = INT64_MAX;  // padded tokens
  int32_t unbearable = -1;     // a row with this id never fits
  int calls = 0;
  std::vector<size_t> batches;
  std::vector<SequenceRow> seen;
  SearchOptions search;
  AttentionRequest attention;
};

}  // namespace floe

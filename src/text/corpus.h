// Parallel corpora as token ids, mixed by weight. Source and target stay in step whatever the files hold: a
// pair with a blank side is passed over and counted, a pair longer than the limits is cut or passed over and
// counted. Ids are those of the text alone; begin and end of sentence are the caller's.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/lines.h"
#include "text/unknown_rate.h"

namespace floe {

class Tokenizer;

// Two parallel files, or two columns of a tab-separated file.
struct CorpusPart {
  std::string source;
  std::string target;
  std::string tsv;
  TsvColumns columns;   // of `tsv`
  double weight = 1.0;  // how often each pair is drawn in an epoch, in expectation
};

enum class LongPairs { skip, truncate };

struct CorpusOptions {
  uint32_t max_source_tokens = 0;  // 0 means no limit
  uint32_t max_target_tokens = 0;
  LongPairs long_pairs = LongPairs::skip;
  bool keep_text = false;  // for encoding the lines again, as subword regularisation does
  UnknownRateOptions unknown_rate;
};

struct CorpusPartReport {
  std::string name;
  double weight = 1.0;
  uint64_t lines = 0;
  uint64_t kept = 0;
  uint64_t blank = 0;      // passed over: a side is blank, or nothing of it is left as tokens
  uint64_t too_long = 0;   // passed over
  uint64_t truncated = 0;  // kept, cut
  uint64_t source_tokens = 0;
  uint64_t target_tokens = 0;
};

struct CorpusReport {
  std::vector<CorpusPartReport> parts;
  std::vector<std::string> warnings;  // for the caller to log

  std::string text() const;  // one line a part, then the warnings
};

class Corpus {
 public:
  // One tokenizer may serve both sides. Throws Error{user}: no part, a part that names neither files nor a
  // table or both, a weight that is not above 0 and at most 1000, line counts that differ, a corpus with no
  // usable pair; and what text/lines.h throws.
  Corpus(const std::vector<CorpusPart>& parts, const Tokenizer& source, const Tokenizer& target,
         const CorpusOptions& options = {});

  size_t size() const { return pairs_.size(); }
  std::span<const int32_t> source(size_t pair) const;
  std::span<const int32_t> target(size_t pair) const;
  // The lines by pair; empty unless the text was kept.
  const std::vector<std::string>& source_text() const { return source_text_; }
  const std::vector<std::string>& target_text() const { return target_text_; }
  size_t part(size_t pair) const { return pairs_[pair].part; }
  // 1-based, in the file of the part.
  uint64_t line(size_t pair) const { return pairs_[pair].line; }
  const CorpusReport& report() const { return report_; }

  // The pairs of one epoch in their order: a pure function of the corpus, seed and epoch. With weight w, each
  // pair of a part stands in it floor(w) times, and once more with probability w - floor(w), decided by a
  // hash of seed, epoch, part and line.
  std::vector<uint32_t> epoch_order(uint64_t seed, uint64_t epoch) const;

 private:
  struct Pair {
    uint64_t begin;  // of the source's ids in ids_; the target's follow
    uint32_t source_tokens;
    uint32_t target_tokens;
    uint32_t part;
    uint64_t line;
  };

  void add_part(const CorpusPart& part, const Tokenizer& source, const Tokenizer& target,
                const CorpusOptions& options);

  std::vector<int32_t> ids_;
  std::vector<Pair> pairs_;
  std::vector<std::string> source_text_;
  std::vector<std::string> target_text_;
  CorpusReport report_;
};

}  // namespace floe

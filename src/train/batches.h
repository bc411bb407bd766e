// Batches of sentence pairs by padded size: a pure function of the corpus, the options, the seed and the
// epoch, so that (epoch, next batch) is all that a checkpoint must hold. One batch is what one update of the
// weights sees; it may be cut into micro-batches, for memory or for ranks, and each sentence keeps its number
// in the whole.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "train/batch_tensors.h"

namespace floe {

// A corpus as the batcher sees it: looked at, never copied. Token ids are those of the text; begin and end
// are added when a batch is filled.
struct PairCorpus {
  size_t size = 0;
  std::function<std::span<const int32_t>(size_t pair)> source;
  std::function<std::span<const int32_t>(size_t pair)> target;
  // The pairs of an epoch in their order, with repetitions where a corpus is weighted; without it, a seeded
  // shuffle.
  std::function<std::vector<uint32_t>(uint64_t seed, uint64_t epoch)> order;
};
using IdSequences = std::vector<std::vector<int32_t>>;
// Both must outlive the corpus and have one length.
PairCorpus pair_corpus(const IdSequences& source, const IdSequences& target);

struct BatchShape {
  int64_t rows = 0;
  int64_t source = 0;  // padded lengths
  int64_t target = 0;
  bool operator==(const BatchShape&) const = default;
};

struct BatchOptions {
  int64_t max_tokens = 4096;    // rows * the wider padded length; of the whole batch
  int64_t max_sentences = 0;    // 0: no limit of its own
  int64_t max_length = 100;     // pairs with more ids (with begin or end) on a side are left out and counted
  int64_t length_multiple = 8;  // padded lengths are multiples of this
  // Every batch has one of shapes(): both sides as wide as their bucket, and rows filled up with empty
  // sentences. A device that captures a step for each shape wants this; at most kMaxShapes of them.
  bool closed_shapes = false;
  uint64_t seed = 1;
  int32_t pad_id = 0;
  int32_t start_id = 1;
  int32_t eos_id = 2;
};
constexpr int64_t kMaxShapes = 24;

struct BatchPosition {
  uint64_t epoch = 1;
  uint64_t next = 0;  // batch of the epoch
  bool operator==(const BatchPosition&) const = default;
};

// The pairs of one batch. Valid until the stream moves on.
struct BatchRef {
  BatchPosition at;
  std::span<const uint32_t> pairs;
  BatchShape shape;           // rows >= pairs.size(); more only with closed shapes
  int64_t target_tokens = 0;  // with ends; what an update's gradient is divided by
  bool last_of_epoch = false;
};

// One part of a batch as the step eats it: rows begin..begin+B of the whole.
struct MicroBatch {
  BatchTensors tensors;
  int64_t target_tokens = 0;  // of this part
};

// The largest shapes that batches can have: of each width as many sentences as fit, both sides as wide. Of
// more than kMaxShapes widths only those that can need the most memory. Throws Error{user} as Batches does.
// `parts`: of a micro-batch, when a batch is cut into so many.
std::vector<BatchShape> largest_shapes(const BatchOptions& options, int64_t parts = 1);
// The least max_tokens: one sentence of max_length, padded.
int64_t least_tokens(const BatchOptions& options);

class Batches {
 public:
  // Throws Error{user}: an option out of range, no pair short enough, closed shapes that are too many.
  Batches(PairCorpus corpus, const BatchOptions& options);

  BatchRef next();
  // Where next() goes on.
  BatchPosition position() const { return position_; }
  // Throws Error{user} when the epoch has no such batch: the corpus or the options are not those of the
  // position.
  void seek(const BatchPosition& position);

  // Part k of `parts`, whose rows differ by one at most; the padded lengths are the whole's, so that only the
  // rows change. A part can have no row when the batch has fewer than `parts`. With closed shapes all parts
  // have equally many. target_in begins with start_id, source and target_out end with eos_id; the rest is
  // pad_id.
  MicroBatch fill(const BatchRef& batch, int part = 0, int parts = 1) const;

  uint64_t batches_in_epoch() const { return starts_.size() - 1; }
  int64_t left_out() const { return left_out_; }  // pairs that are too long
  // All that next() can give with closed shapes, else empty.
  const std::vector<BatchShape>& shapes() const { return shapes_; }
  // Changes with the options and with any sentence's length: a checkpoint that holds another one cannot be
  // resumed in the middle of an epoch.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  int64_t width_of(uint32_t pair) const;
  void plan(uint64_t epoch);

  PairCorpus corpus_;
  BatchOptions options_;
  std::vector<BatchShape> shapes_;
  int64_t left_out_ = 0;
  uint64_t fingerprint_ = 0;
  BatchPosition position_;
  uint64_t planned_ = 0;            // epoch of the plan below; 0: none
  std::vector<uint32_t> pairs_;     // batch after batch
  std::vector<uint32_t> starts_;    // of each batch in pairs_, and the end of the last
  std::vector<uint32_t> shuffled_;  // the order in which batches are given
};

}  // namespace floe

#include "train/batches.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "tensor/philox.h"

namespace floe {
namespace {

// Numbers from a key and a counter. The streams of an epoch (sentences, batches) never meet.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t epoch, uint32_t stream) : seed_(seed), epoch_(epoch), stream_(stream) {}

  // Below n; the bias of the multiplication is n / 2^64.
  uint64_t below(uint64_t n) {
    const PhiloxBlock block =
        philox({count_++, stream_, static_cast<uint32_t>(epoch_), static_cast<uint32_t>(epoch_ >> 32)},
               static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32));
    const uint64_t bits = uint64_t{block[0]} << 32 | block[1];
    return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * n) >> 64);
  }

  // Fisher and Yates, as Durstenfeld wrote it.
  void shuffle(std::vector<uint32_t>* items) {
    for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[below(i)]);
  }

 private:
  uint64_t seed_;
  uint64_t epoch_;
  uint32_t stream_;
  uint32_t count_ = 0;
};

constexpr uint32_t kSentences = 1;
constexpr uint32_t kBatches = 2;

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

void check(const BatchOptions& options) {
  const auto at_least_one = [](const char* name, int64_t value) {
    if (value < 1) fail_user("batches: {} is {}; it must be at least 1", name, value);
  };
  at_least_one("max_tokens", options.max_tokens);
  at_least_one("max_length", options.max_length);
  at_least_one("length_multiple", options.length_multiple);
  if (options.max_sentences < 0) fail_user("batches: max_sentences is {}", options.max_sentences);
  if (options.max_length > INT32_MAX || options.length_multiple > INT32_MAX) {
    fail_user("batches: lengths of {} or multiples of {} are too large", options.max_length,
              options.length_multiple);
  }
  const int64_t widest = round_up(options.max_length, options.length_multiple);
  if (widest > options.max_tokens) {
    fail_user("batches: a sentence of max_length {}, padded to {}, is above max_tokens {}",
              options.max_length, widest, options.max_tokens);
  }
  const int64_t shapes = widest / options.length_multiple;
  if (options.closed_shapes && shapes > kMaxShapes) {
    fail_user(
        "batches: max_length {} in multiples of {} makes {} shapes, above {}; a length_multiple of {} would "
        "do",
        options.max_length, options.length_multiple, shapes, kMaxShapes,
        (options.max_length + kMaxShapes - 1) / kMaxShapes);
  }
}

int64_t rows_for(const BatchOptions& options, int64_t width) {
  const int64_t rows = options.max_tokens / width;
  return options.max_sentences > 0 ? std::min(rows, options.max_sentences) : rows;
}

}  // namespace

int64_t least_tokens(const BatchOptions& options) {
  return round_up(options.max_length, options.length_multiple);
}

std::vector<BatchShape> largest_shapes(const BatchOptions& options, int64_t parts) {
  check(options);
  const int64_t step = options.length_multiple;
  std::vector<BatchShape> shapes;
  for (int64_t width = step; width <= round_up(options.max_length, step); width += step)
    shapes.push_back({(rows_for(options, width) + parts - 1) / parts, width, width});
  if (static_cast<int64_t>(shapes.size()) <= kMaxShapes) return shapes;
  // What a step holds grows with rows, with tokens and with pairs of tokens. With rows = tokens / width a sum
  // of the three is convex in the width, so that an end is the worst; unless a whole number of rows leaves
  // tokens over there.
  std::vector<BatchShape> worst = {shapes.front(), shapes.back()};
  const auto add_largest = [&](auto size_of_shape) {
    worst.push_back(*std::max_element(shapes.begin(), shapes.end(), [&](const auto& a, const auto& b) {
      return size_of_shape(a) < size_of_shape(b);
    }));
  };
  add_largest([](const BatchShape& s) { return s.rows * s.source; });
  add_largest([](const BatchShape& s) { return s.rows * s.source * s.source; });
  return worst;
}

PairCorpus pair_corpus(const IdSequences& source, const IdSequences& target) {
  FLOE_CHECK(source.size() == target.size(), "{} sources for {} targets", source.size(), target.size());
  return {.size = source.size(),
          .source = [&source](size_t i) { return std::span<const int32_t>(source[i]); },
          .target = [&target](size_t i) { return std::span<const int32_t>(target[i]); }};
}

Batches::Batches(PairCorpus corpus, const BatchOptions& options)
    : corpus_(std::move(corpus)), options_(options) {
  check(options_);
  if (corpus_.size > std::numeric_limits<uint32_t>::max())
    fail_user("batches: {} pairs are too many", corpus_.size);
  if (options_.closed_shapes) shapes_ = largest_shapes(options_);
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over 64-bit words
  const auto mix = [&hash](uint64_t word) { hash = (hash ^ word) * 0x100000001b3; };
  for (const int64_t option : {options_.max_tokens, options_.max_sentences, options_.max_length,
                               options_.length_multiple, int64_t{options_.closed_shapes}}) {
    mix(static_cast<uint64_t>(option));
  }
  mix(options_.seed);
  for (size_t pair = 0; pair < corpus_.size; ++pair) {
    mix(corpus_.source(pair).size() << 32 ^ corpus_.target(pair).size());
    if (width_of(static_cast<uint32_t>(pair)) == 0) ++left_out_;
  }
  fingerprint_ = hash;
  if (static_cast<size_t>(left_out_) == corpus_.size) {
    fail_user("batches: none of the {} pairs is at most {} ids long", corpus_.size, options_.max_length);
  }
  seek({});
}

// The padded length of the wider side, one id of begin or end included; 0 when the pair is too long.
int64_t Batches::width_of(uint32_t pair) const {
  const size_t ids = std::max(corpus_.source(pair).size(), corpus_.target(pair).size()) + 1;
  if (ids > static_cast<size_t>(options_.max_length)) return 0;
  return round_up(static_cast<int64_t>(ids), options_.length_multiple);
}

void Batches::plan(uint64_t epoch) {
  std::vector<uint32_t> order;
  if (corpus_.order) {
    order = corpus_.order(options_.seed, epoch);
  } else {
    order.resize(corpus_.size);
    std::iota(order.begin(), order.end(), 0u);
    Draws(options_.seed, epoch, kSentences).shuffle(&order);
  }
  pairs_.clear();
  pairs_.reserve(order.size());
  starts_.assign(1, 0);
  const auto emit = [&](std::vector<uint32_t>* rows) {
    if (rows->empty()) return;
    pairs_.insert(pairs_.end(), rows->begin(), rows->end());
    starts_.push_back(static_cast<uint32_t>(pairs_.size()));
    rows->clear();
  };
  // Each width collects pairs until a batch is full.
  std::map<int64_t, std::vector<uint32_t>> open;
  for (const uint32_t pair : order) {
    const int64_t width = width_of(pair);
    if (width == 0) continue;
    std::vector<uint32_t>& rows = open[width];
    rows.push_back(pair);
    if (static_cast<int64_t>(rows.size()) == rows_for(options_, width)) emit(&rows);
  }
  // What is left over goes on into wider batches, so that an epoch has few small ones.
  std::vector<uint32_t> left;
  for (auto& [width, rows] : open) {
    for (const uint32_t pair : rows) {
      if (static_cast<int64_t>(left.size()) + 1 > rows_for(options_, width)) emit(&left);
      left.push_back(pair);
    }
  }
  emit(&left);
  if (starts_.size() == 1) fail_user("batches: epoch {} holds no pair", epoch);
  shuffled_.resize(starts_.size() - 1);
  std::iota(shuffled_.begin(), shuffled_.end(), 0u);
  Draws(options_.seed, epoch, kBatches).shuffle(&shuffled_);
  planned_ = epoch;
}

void Batches::seek(const BatchPosition& position) {
  if (position.epoch < 1) fail_user("batches: epochs count from 1");
  if (planned_ != position.epoch) plan(position.epoch);
  if (position.next > batches_in_epoch()) {
    fail_user("batches: epoch {} has {} batches, none after {}: the corpus or the options have changed",
              position.epoch, batches_in_epoch(), position.next);
  }
  position_ = position;
}

BatchRef Batches::next() {
  if (position_.next == batches_in_epoch()) seek({.epoch = position_.epoch + 1});
  BatchRef batch{.at = position_};
  const uint32_t index = shuffled_[position_.next];
  batch.pairs = std::span(pairs_).subspan(starts_[index], starts_[index + 1] - starts_[index]);
  int64_t source = 0;
  int64_t target = 0;
  for (const uint32_t pair : batch.pairs) {
    source = std::max<int64_t>(source, static_cast<int64_t>(corpus_.source(pair).size()) + 1);
    target = std::max<int64_t>(target, static_cast<int64_t>(corpus_.target(pair).size()) + 1);
    batch.target_tokens += static_cast<int64_t>(corpus_.target(pair).size()) + 1;
  }
  source = round_up(source, options_.length_multiple);
  target = round_up(target, options_.length_multiple);
  batch.shape = {static_cast<int64_t>(batch.pairs.size()), source, target};
  if (options_.closed_shapes) {
    const int64_t width = std::max(source, target);
    batch.shape = {rows_for(options_, width), width, width};
  }
  ++position_.next;
  batch.last_of_epoch = position_.next == batches_in_epoch();
  return batch;
}

MicroBatch Batches::fill(const BatchRef& batch, int part, int parts) const {
  FLOE_CHECK(parts >= 1 && part >= 0 && part < parts, "part {} of {}", part, parts);
  const int64_t rows = options_.closed_shapes ? round_up(batch.shape.rows, parts) : batch.shape.rows;
  const int64_t begin = rows / parts * part + std::min<int64_t>(part, rows % parts);
  const int64_t end = begin + rows / parts + (part < rows % parts ? 1 : 0);
  const int64_t count = end - begin;
  const auto [whole, source_width, target_width] = batch.shape;

  MicroBatch out;
  out.tensors = {.source = Tensor(DType::i32, {count, source_width}),
                 .source_lengths = Tensor(DType::i32, {count}),
                 .target_in = Tensor(DType::i32, {count, target_width}),
                 .target_out = Tensor(DType::i32, {count, target_width}),
                 .ordinals = Tensor(DType::i32, {count})};
  BatchTensors& tensors = out.tensors;
  for (Tensor* ids : {&tensors.source, &tensors.target_in, &tensors.target_out}) {
    std::fill_n(ids->as<int32_t>(), ids->size(), options_.pad_id);
  }
  for (int64_t row = 0; row < count; ++row) {
    const int64_t ordinal = begin + row;
    tensors.ordinals.as<int32_t>()[row] = static_cast<int32_t>(ordinal);
    if (ordinal >= static_cast<int64_t>(batch.pairs.size())) continue;  // an empty sentence
    const uint32_t pair = batch.pairs[static_cast<size_t>(ordinal)];
    const std::span<const int32_t> source = corpus_.source(pair);
    const std::span<const int32_t> target = corpus_.target(pair);
    *std::copy(source.begin(), source.end(), tensors.source.as<int32_t>() + row * source_width) =
        options_.eos_id;
    tensors.source_lengths.as<int32_t>()[row] = static_cast<int32_t>(source.size()) + 1;
    int32_t* in = tensors.target_in.as<int32_t>() + row * target_width;
    *in = options_.start_id;
    std::copy(target.begin(), target.end(), in + 1);
    *std::copy(target.begin(), target.end(), tensors.target_out.as<int32_t>() + row * target_width) =
        options_.eos_id;
    out.target_tokens += static_cast<int64_t>(target.size()) + 1;
  }
  return out;
}

}  // namespace floe

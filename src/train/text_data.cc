#include "train/text_data.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "text/counter_random.h"
#include "text/tokenizer_train.h"

namespace floe {
namespace {

constexpr uint64_t kSampling = 0x5eed;  // a stream of its own

using Note = std::function<void(const std::string&)>;

std::shared_ptr<const Tokenizer> load(const std::string& path, const Note& note) {
  auto tokenizer = std::make_shared<const Tokenizer>(Tokenizer::load(path));
  note(fmt::format("tokenizer {}: {} pieces", path, tokenizer->size()));
  return tokenizer;
}

std::shared_ptr<const Tokenizer> load_or_train(const std::string& path, std::vector<std::string> files,
                                               const TrainOptions& options, const Note& note) {
  if (file_exists(path)) {
    auto tokenizer = load(path, note);
    if (tokenizer->size() != options.vocabulary_size)
      note(fmt::format("it was there before; vocabulary_size {} is that of a tokenizer that is trained",
                       options.vocabulary_size));
    return tokenizer;
  }
  TokenizerTraining training;
  training.files = std::move(files);
  training.vocabulary_size = static_cast<int32_t>(std::min<int64_t>(options.vocabulary_size, INT32_MAX));
  training.character_coverage = options.character_coverage;
  training.seed = static_cast<uint64_t>(options.seed);
  write_file(path, train_tokenizer(training));
  note(fmt::format("trained a tokenizer on {} files", training.files.size()));
  return load(path, note);
}

std::vector<CorpusPart> parts_of(const TrainOptions& options) {
  std::vector<CorpusPart> parts;
  for (size_t i = 0; i < options.train_source.size(); ++i) {
    CorpusPart part;
    part.source = options.train_source[i];
    part.target = options.train_target[i];
    if (!options.train_weights.empty()) part.weight = options.train_weights[i];
    parts.push_back(std::move(part));
  }
  return parts;
}

CorpusOptions corpus_options(const TrainOptions& options) {
  CorpusOptions corpus;
  // With begin or end they have max_length; longer ones are counted here and never reach the batches.
  corpus.max_source_tokens = corpus.max_target_tokens = static_cast<uint32_t>(options.batch.max_length - 1);
  corpus.keep_text = options.subword_alpha > 0;
  return corpus;
}

}  // namespace

TrainTokenizers prepare_tokenizers(const TrainOptions& options, const Note& note) {
  if (!options.init_from.empty()) {
    const std::string joint = options.init_from + "/tokenizer.model";
    if (file_exists(joint)) {
      const auto tokenizer = load(joint, note);
      return {tokenizer, tokenizer};
    }
    return {load(options.init_from + "/source.model", note), load(options.init_from + "/target.model", note)};
  }
  if (options.source_tokenizer == options.target_tokenizer) {
    const std::string path =
        options.source_tokenizer.empty() ? options.output + "/tokenizer.model" : options.source_tokenizer;
    std::vector<std::string> files = options.train_source;
    files.insert(files.end(), options.train_target.begin(), options.train_target.end());
    const auto tokenizer = load_or_train(path, std::move(files), options, note);
    return {tokenizer, tokenizer};
  }
  return {load_or_train(options.source_tokenizer, options.train_source, options, note),
          load_or_train(options.target_tokenizer, options.train_target, options, note)};
}

TrainingText::TrainingText(const TrainOptions& options, const TrainTokenizers& tokenizers)
    : tokenizers_(tokenizers),
      alpha_(options.subword_alpha),
      corpus_(parts_of(options), *tokenizers.source, *tokenizers.target, corpus_options(options)) {
  if (alpha_ > 0) {
    for (size_t i = 0; i < corpus_.size(); ++i) {
      source_.emplace_back(corpus_.source(i).begin(), corpus_.source(i).end());
      target_.emplace_back(corpus_.target(i).begin(), corpus_.target(i).end());
    }
  }
}

void TrainingText::segment(uint64_t seed, uint64_t epoch) {
  if (alpha_ <= 0 || segmented_ == epoch) return;
  for (size_t i = 0; i < corpus_.size(); ++i) {
    const auto draw = [&](uint64_t side) {
      return Sampling{static_cast<float>(alpha_), counter_random({seed, epoch, kSampling}, 2 * i + side)};
    };
    source_[i] = tokenizers_.source->encode_sampled(corpus_.source_text()[i], draw(0));
    target_[i] = tokenizers_.target->encode_sampled(corpus_.target_text()[i], draw(1));
  }
  segmented_ = epoch;
}

PairCorpus TrainingText::pairs() {
  PairCorpus pairs;
  pairs.size = corpus_.size();
  pairs.order = [this](uint64_t seed, uint64_t epoch) {
    segment(seed, epoch);
    return corpus_.epoch_order(seed, epoch);
  };
  if (alpha_ > 0) {
    pairs.source = [this](size_t i) { return std::span<const int32_t>(source_[i]); };
    pairs.target = [this](size_t i) { return std::span<const int32_t>(target_[i]); };
  } else {
    pairs.source = [this](size_t i) { return corpus_.source(i); };
    pairs.target = [this](size_t i) { return corpus_.target(i); };
  }
  return pairs;
}

}  // namespace floe

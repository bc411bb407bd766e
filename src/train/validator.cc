#include "train/validator.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "compile/compile.h"
#include "eval/evaluate.h"
#include "ir/rewrite.h"
#include "nn/transformer.h"
#include "text/lines.h"
#include "train/memory.h"
#include "translate/engine.h"
#include "translate/translator.h"

namespace floe {
namespace {

constexpr int64_t kValidationTokens = 4096;  // padded, a batch
constexpr const char* kEntry = "validate";

std::shared_ptr<const Program> validation_program(const TrainOptions& options, const ModelConfig& config,
                                                  const KernelTable& kernels, DeviceKind device) {
  return compile({renamed(training_graph(config, {options.label_smoothing, false}), kEntry)}, kernels,
                 {.device = device});
}

BatchOptions validation_batch(const TrainOptions& options, const ModelConfig& config) {
  BatchOptions batch = options.batch;
  batch.max_tokens = std::max<int64_t>(kValidationTokens, config.max_positions);
  batch.max_length = config.max_positions;
  batch.length_multiple = 1;  // a rounded length could be one more than the model takes
  batch.closed_shapes = false;
  batch.pad_id = config.pad_id;
  batch.start_id = config.start_id;
  batch.eos_id = config.eos_id;
  return batch;
}

bool translates(const TrainOptions& options) {
  const auto& metrics = options.metrics;
  return std::count(metrics.begin(), metrics.end(), "bleu") > 0 ||
         std::count(metrics.begin(), metrics.end(), "chrf") > 0;
}

DecodeEngineOptions search_engine(const TrainOptions& options, const ModelConfig& config) {
  // One sentence of the greatest length with this beam always fits.
  const int64_t beam = options.validation_beam;
  DecodeEngineOptions decode;
  decode.fit_beam = beam;
  decode.max_rows = std::max(decode.max_rows, beam);
  decode.cache_positions = std::max(decode.cache_positions, beam * config.max_positions);
  decode.source_positions = std::max(decode.source_positions, config.max_positions);
  return decode;
}

size_t weight_bytes(const ModelConfig& config) {
  size_t bytes = 0;
  for (const WeightSpec& spec : weight_table(config))
    bytes += static_cast<size_t>(count(spec.dims)) * size_of(spec.type().dtype);
  return bytes;
}

}  // namespace

size_t validation_bytes(const TrainOptions& options, const ModelConfig& config, const KernelTable& kernels,
                        Device& device) {
  const StepSizes sizes(validation_program(options, config, kernels, device.kind()), kernels, device);
  const Session::Needs loss = sizes.largest(largest_shapes(validation_batch(options, config))).needs;
  size_t bytes = weight_bytes(config) + loss.arena + loss.packed;
  if (translates(options))
    bytes += DecodeEngine::least_bytes(config, kernels, device, search_engine(options, config));
  return bytes;
}

ModelText model_text(const ModelConfig& config, const TrainTokenizers& tokenizers) {
  const auto codec = [](const Tokenizer& tokenizer) {
    return TextCodec(Tokenizer::from_bytes(tokenizer.bytes(), "tokenizer"));
  };
  const TextCodec source = codec(*tokenizers.source);
  ModelText text{.source = source, .target = tokenizers.joint() ? source : codec(*tokenizers.target)};
  apply_config(config, &text);
  return text;
}

Validator::Validator(const TrainOptions& options, const ModelConfig& config,
                     const TrainTokenizers& tokenizers, const KernelTable& kernels, Device& device, Note note)
    : options_(options),
      config_(config),
      text_(model_text(config, tokenizers)),
      device_(device),
      note_(std::move(note)),
      state_(&device) {
  const LinePairs pairs = read_pairs(options.valid_source, options.valid_target);
  source_lines_ = pairs.source;
  target_lines_ = pairs.target;
  const auto ids = [&](const Tokenizer& tokenizer, const std::string& line, int64_t limit) {
    std::vector<int32_t> list = tokenizer.encode(line);
    // One place is for the end of the sentence, or for its start.
    if (static_cast<int64_t>(list.size()) > limit - 1) list.resize(static_cast<size_t>(limit - 1));
    return list;
  };
  for (size_t i = 0; i < source_lines_.size(); ++i) {
    if (is_blank(source_lines_[i]) || is_blank(target_lines_[i])) continue;
    source_ids_.push_back(ids(*tokenizers.source, source_lines_[i], config.max_positions));
    target_ids_.push_back(ids(*tokenizers.target, target_lines_[i], config.max_positions));
  }
  if (source_ids_.empty()) fail_user("{}: no line to validate on", options.valid_source);
  program_ = validation_program(options, config, kernels, device.kind());
  session_ = std::make_unique<Session>(program_, kernels, device, state_);
  for (const WeightSpec& spec : weight_table(config))
    state_.set_zero(spec.name, spec.type().dtype, spec.dims);
  const size_t still_to_pack = reserve();
  if (!translates(options)) return;
  DecodeEngineOptions decode = search_engine(options, config);
  decode.keep_free = still_to_pack;
  engine_ = std::make_unique<DecodeEngine>(config, state_, kernels, device, decode);
  TranslatorOptions search;
  search.search.beam = options.validation_beam;
  translator_ = std::make_unique<Translator>(text_, *engine_, search, [this](const std::string& warning) {
    if (!translated_) note_(options_.valid_source + ": " + warning);
  });
}

Validator::~Validator() = default;

// Where memory is limited: the arena of every batch, taken now. Bytes that the first run will take beside.
size_t Validator::reserve() {
  const size_t available = device_.memory_available();
  if (available == Device::kNoLimit) return 0;
  const ProgramEntry& entry = program_->entry(kEntry);
  Session::Needs most;
  for (const BatchShape& shape : largest_shapes(validation_batch(options_, config_))) {
    const Session::Needs needs = session_->needs(kEntry, step_binding(entry, shape));
    most = {std::max(most.arena, needs.arena), std::max(most.packed, needs.packed)};
  }
  if (most.arena + most.packed > available) {
    throw OutOfMemory(fmt::format("{}: validation takes {} beside its weights, and {} are left",
                                  device_.name(), rounded_bytes(most.arena + most.packed),
                                  rounded_bytes(available)));
  }
  session_->reserve(most.arena);
  return most.packed;
}

void Validator::take(const State& state, const std::string& prefix) {
  for (const WeightSpec& spec : weight_table(config_)) {
    const std::string averaged = prefix + spec.name;
    state_.assign(spec.name, state, !prefix.empty() && state.has(averaged) ? averaged : spec.name);
  }
  state_.touch();
}

std::vector<std::pair<std::string, double>> Validator::run() {
  const double loss = cross_entropy();
  std::vector<std::pair<std::string, double>> values = {{"cross_entropy", loss},
                                                        {"perplexity", std::exp(loss)}};
  if (!translator_) return values;
  // Weights that give no number give no translation either.
  EvaluationReport evaluation;
  evaluation.bleu.score = evaluation.chrf.score = std::nan("");
  if (std::isfinite(loss)) evaluation = evaluate(translate(), {target_lines_});
  for (const std::string& metric : options_.metrics) {
    if (metric == "bleu") values.emplace_back(metric, evaluation.bleu.score);
    if (metric == "chrf") values.emplace_back(metric, evaluation.chrf.score);
  }
  return values;
}

double Validator::cross_entropy() {
  // Longest first, so that a batch pads little; the order is fixed by lengths and places alone.
  std::vector<uint32_t> order(source_ids_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  const auto width = [&](uint32_t i) { return std::max(source_ids_[i].size(), target_ids_[i].size()); };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return width(a) > width(b); });
  PairCorpus corpus = pair_corpus(source_ids_, target_ids_);
  corpus.order = [&](uint64_t, uint64_t) { return order; };
  Batches batches(std::move(corpus), validation_batch(options_, config_));
  double nll = 0;
  double tokens = 0;
  for (uint64_t i = 0; batches.position().epoch == 1; ++i) {
    const MicroBatch part = batches.fill(batches.next());
    std::vector<Feed> feeds;
    if (config_.has_encoder()) {
      feeds.push_back({"source", view_of(part.tensors.source)});
      feeds.push_back({"source_lengths", view_of(part.tensors.source_lengths)});
    }
    feeds.push_back({"target_in", view_of(part.tensors.target_in)});
    feeds.push_back({"target_out", view_of(part.tensors.target_out)});
    session_->run(kEntry, feeds);
    nll += static_cast<double>(session_->output("nll").as<float>()[0]);
    tokens += static_cast<double>(session_->output("tokens").as<float>()[0]);
  }
  return nll / std::max(1.0, tokens);
}

std::vector<std::string> Validator::translate() {
  std::vector<std::string> lines;
  for (const Translation& translation : translator_->translate(source_lines_))
    lines.push_back(translation.text());
  translated_ = true;
  return lines;
}

ModelFile Validator::model() const {
  ModelFile model{.config = config_, .weights = {}, .text = text_, .generation = {}, .notes = {}};
  for (const WeightSpec& spec : weight_table(config_)) {
    model.weights.emplace(spec.name, copy_of(state_.get(spec.name)));
  }
  return model;
}

}  // namespace floe

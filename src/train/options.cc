#include "train/options.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/error.h"
#include "base/overload.h"

namespace floe {
namespace {

using Effect = OptionRow::Effect;

// Lambdas as template arguments: each row is data known at compile time.
template <auto access>
constexpr ChoiceAccess choice() {
  return {[](TrainOptions& o) { return std::string(name_of(access(o))); },
          [](TrainOptions& o, std::string_view text) { parse(text, &access(o)); }};
}

std::string batch_tokens(TrainOptions& o) {
  return o.auto_batch ? "auto" : std::to_string(o.batch.max_tokens);
}
void set_batch_tokens(TrainOptions& o, std::string_view text) {
  int64_t tokens = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (!number && text != "auto") fail_user("'{}' is neither a whole number nor auto", text);
  o.auto_batch = !number;
  if (number) o.batch.max_tokens = tokens;
}

std::string memory_limit(TrainOptions& o) { return o.memory_limit == 0 ? "0" : exact_bytes(o.memory_limit); }
void set_memory_limit(TrainOptions& o, std::string_view text) {
  o.memory_limit = text == "0" ? 0 : parse_bytes(text);
}

#define FLOE_OPTION(type, member)                     \
  OptionAccess<type> {                                \
    [](TrainOptions& o) -> type& { return o.member; } \
  }
#define FLOE_CHOICE(member) choice<[](TrainOptions& o) -> auto& { return o.member; }>()

using Strings = std::vector<std::string>;
using Numbers = std::vector<double>;

const OptionRow kRows[] = {
    {"data", "train_source", FLOE_OPTION(Strings, train_source), "source files, part by part"},
    {"data", "train_target", FLOE_OPTION(Strings, train_target), "target files, beside train_source"},
    {"data", "train_weights", FLOE_OPTION(Numbers, train_weights),
     "how often a part is seen in an epoch; none: once"},
    {"data", "valid_source", FLOE_OPTION(std::string, valid_source), "source file of validation",
     Effect::none},
    {"data", "valid_target", FLOE_OPTION(std::string, valid_target), "target file of validation",
     Effect::none},
    {"data", "source_tokenizer", FLOE_OPTION(std::string, source_tokenizer),
     "SentencePiece model of the source; trained when the file is not there"},
    {"data", "target_tokenizer", FLOE_OPTION(std::string, target_tokenizer),
     "the same of the target; the source's path: one vocabulary for both"},
    {"data", "vocabulary_size", FLOE_OPTION(int64_t, vocabulary_size),
     "pieces of a tokenizer that is trained"},
    {"data", "character_coverage", FLOE_OPTION(double, character_coverage),
     "share of the characters that such a tokenizer has pieces for; 0.9995 for Chinese or Japanese"},
    {"data", "subword_alpha", FLOE_OPTION(double, subword_alpha),
     "sample segmentations with this alpha; 0: the best one"},

    {"model", "d_model", FLOE_OPTION(int64_t, model.d_model), "width"},
    {"model", "encoder_layers", FLOE_OPTION(int64_t, model.encoder_layers), "layers of the encoder"},
    {"model", "decoder_layers", FLOE_OPTION(int64_t, model.decoder_layers), "layers of the decoder"},
    {"model", "heads", FLOE_OPTION(int64_t, model.heads), "query heads"},
    {"model", "kv_heads", FLOE_OPTION(int64_t, model.kv_heads), "key and value heads; a divisor of heads"},
    {"model", "d_ff", FLOE_OPTION(int64_t, model.d_ff), "width inside the feed-forward layer"},
    {"model", "norm_placement", FLOE_CHOICE(model.norm_placement), "pre or post"},
    {"model", "norm_kind", FLOE_CHOICE(model.norm_kind), "layer_norm or rms_norm"},
    {"model", "activation", FLOE_CHOICE(model.activation), "relu, gelu, gelu_tanh, silu or swiglu"},
    {"model", "positions", FLOE_CHOICE(model.positions), "none, sinusoidal, learned or rotary"},
    {"model", "tied", FLOE_CHOICE(model.tied), "none, source_target, target_output or all"},
    {"model", "max_positions", FLOE_OPTION(int64_t, model.max_positions), "longest source or target"},
    {"model", "biases", FLOE_OPTION(bool, model.biases), "biases of the linear layers"},
    {"model", "residual_dropout", FLOE_OPTION(double, model.residual_dropout), "on embeddings and branches"},
    {"model", "attention_dropout", FLOE_OPTION(double, model.attention_dropout),
     "on attention probabilities"},
    {"model", "activation_dropout", FLOE_OPTION(double, model.activation_dropout),
     "inside the feed-forward layer"},

    {"batch", "batch_tokens", ChoiceAccess{batch_tokens, set_batch_tokens, true},
     "padded tokens of the wider side in an update; auto: as many as fit in memory"},
    {"batch", "batch_sentences", FLOE_OPTION(int64_t, batch.max_sentences),
     "sentences in an update; 0: no limit"},
    {"batch", "max_length", FLOE_OPTION(int64_t, batch.max_length),
     "longer sentences are left out of training"},
    {"batch", "length_multiple", FLOE_OPTION(int64_t, batch.length_multiple),
     "padded lengths are multiples of this"},
    {"batch", "closed_shapes", FLOE_OPTION(bool, batch.closed_shapes),
     "batches of at most 24 shapes, for CUDA graphs"},
    {"batch", "micro_batches", FLOE_OPTION(int64_t, micro_batches),
     "parts an update is computed in, to save memory"},
    {"batch", "recompute", FLOE_CHOICE(recompute),
     "what the backward part computes again to save memory: none, cheap or layers", Effect::none},

    {"optimizer", "beta1", FLOE_OPTION(double, optimizer.beta1), "of Adam"},
    {"optimizer", "beta2", FLOE_OPTION(double, optimizer.beta2), "of Adam"},
    {"optimizer", "adam_epsilon", FLOE_OPTION(double, optimizer.epsilon), "of Adam"},
    {"optimizer", "weight_decay", FLOE_OPTION(double, optimizer.weight_decay), "decoupled"},
    {"optimizer", "clip_norm", FLOE_OPTION(double, optimizer.clip_norm),
     "largest gradient norm; 0: no limit"},
    {"optimizer", "ema_decay", FLOE_OPTION(double, optimizer.ema_decay), "of averaged weights; 0: none"},
    {"optimizer", "label_smoothing", FLOE_OPTION(double, label_smoothing), "spread over the vocabulary"},
    {"optimizer", "max_skipped", FLOE_OPTION(int64_t, max_skipped),
     "updates in a row without a finite gradient before training ends", Effect::none},

    {"schedule", "schedule", FLOE_CHOICE(schedule.kind), "constant, inverse_sqrt, cosine or linear",
     Effect::schedule},
    {"schedule", "learning_rate", FLOE_OPTION(double, schedule.rate), "after the warm-up", Effect::schedule},
    {"schedule", "min_learning_rate", FLOE_OPTION(double, schedule.min_rate), "after the warm-up never below",
     Effect::schedule},
    {"schedule", "warmup", FLOE_OPTION(int64_t, schedule.warmup), "updates", Effect::schedule},
    {"schedule", "schedule_updates", FLOE_OPTION(int64_t, schedule.total), "where cosine and linear end",
     Effect::schedule},
    {"schedule", "decay", FLOE_CHOICE(decay.strategy), "none, epoch, stalled or epoch+stalled",
     Effect::schedule},
    {"schedule", "decay_factor", FLOE_OPTION(double, decay.factor), "what the rate is multiplied by",
     Effect::schedule},
    {"schedule", "decay_start_epoch", FLOE_OPTION(int64_t, decay.start_epoch), "first epoch whose end decays",
     Effect::schedule},
    {"schedule", "decay_start_stalled", FLOE_OPTION(int64_t, decay.start_stalled),
     "stalled validations before each decay", Effect::schedule},

    {"validation", "validate_every", FLOE_OPTION(int64_t, validate_every), "updates; 0: never"},
    {"validation", "validation_beam", FLOE_OPTION(int64_t, validation_beam), "beam width of translations"},
    {"validation", "metrics", FLOE_OPTION(Strings, metrics),
     "cross_entropy, perplexity, bleu, chrf; the first decides what is best"},
    {"validation", "metric_epsilons", FLOE_OPTION(Numbers, metric_epsilons),
     "least improvement of each; none: 0"},
    {"validation", "early_stopping_on", FLOE_CHOICE(early_stopping_on), "first, all or any of the metrics"},
    {"validation", "patience", FLOE_OPTION(int64_t, patience), "stalled validations before the end; 0: never",
     Effect::none},

    {"stop", "max_updates", FLOE_OPTION(int64_t, max_updates), "0: no limit", Effect::none},
    {"stop", "max_epochs", FLOE_OPTION(int64_t, max_epochs), "0: no limit", Effect::none},
    {"stop", "max_minutes", FLOE_OPTION(double, max_minutes), "of this process; 0: no limit", Effect::none},

    {"checkpoint", "output", FLOE_OPTION(std::string, output), "folder of the run", Effect::none},
    {"checkpoint", "save_every", FLOE_OPTION(int64_t, save_every), "updates", Effect::none},
    {"checkpoint", "keep", FLOE_OPTION(int64_t, keep), "latest checkpoints to keep, beside the best; 0: all",
     Effect::none},
    {"checkpoint", "average_last", FLOE_OPTION(int64_t, average_last),
     "checkpoints whose mean is the final model", Effect::none},
    {"checkpoint", "resume", FLOE_OPTION(bool, resume), "go on from the latest checkpoint in output",
     Effect::none},
    {"checkpoint", "override_schedule", FLOE_OPTION(bool, override_schedule),
     "resume although options of the schedule have changed", Effect::none},
    {"checkpoint", "init_from", FLOE_OPTION(std::string, init_from), "folder of a model to begin with"},

    {"run", "seed", FLOE_OPTION(int64_t, seed), "of weights, masks and order"},
    {"run", "device", FLOE_CHOICE(device), "cpu or cuda"},
    {"run", "precision", FLOE_CHOICE(precision), "f32 or, on cuda, bf16; weights and the optimizer stay f32"},
    {"run", "memory_limit", ChoiceAccess{memory_limit, set_memory_limit, true},
     "of the device: bytes, or a number with KiB, MiB or GiB; 0: what it has", Effect::none},
    {"run", "threads", FLOE_OPTION(int64_t, threads), "0: one a core", Effect::none},
    {"run", "log_every", FLOE_OPTION(int64_t, log_every), "updates", Effect::none},
};

#undef FLOE_OPTION
#undef FLOE_CHOICE

template <class T>
T number_from(const OptionRow& row, const std::string& word, const char* kind) {
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) {
    fail_user("option {}: '{}' is not {}", row.name, word, kind);
  }
  return value;
}

}  // namespace

std::span<const OptionRow> train_option_rows() { return kRows; }

const OptionRow* find_option(std::string_view name) {
  const auto* row =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const OptionRow& r) { return r.name == name; });
  return row == std::end(kRows) ? nullptr : row;
}

void set_option(const OptionRow& row, std::span<const std::string> words, TrainOptions* options) {
  const auto one = [&]() -> const std::string& {
    if (words.size() != 1) fail_user("option {} takes one value, not {}", row.name, words.size());
    return words[0];
  };
  std::visit(
      Overload{[&](OptionAccess<bool> at) {
                 const std::string& word = one();
                 if (word != "true" && word != "false") {
                   fail_user("option {}: '{}' is neither true nor false", row.name, word);
                 }
                 at(*options) = word == "true";
               },
               [&](OptionAccess<int64_t> at) {
                 at(*options) = number_from<int64_t>(row, one(), "a whole number");
               },
               [&](OptionAccess<double> at) { at(*options) = number_from<double>(row, one(), "a number"); },
               [&](OptionAccess<std::string> at) { at(*options) = one(); },
               [&](OptionAccess<Strings> at) { at(*options).assign(words.begin(), words.end()); },
               [&](OptionAccess<Numbers> at) {
                 Numbers numbers;
                 for (const std::string& word : words) {
                   numbers.push_back(number_from<double>(row, word, "a number"));
                 }
                 at(*options) = std::move(numbers);
               },
               [&](const ChoiceAccess& at) {
                 try {
                   at.set(*options, one());
                 } catch (const Error& error) {
                   fail_user("option {}: {}", row.name, error.what());
                 }
               }},
      row.access);
}

EarlyStopOptions early_stop_of(const TrainOptions& options) {
  EarlyStopOptions out{.on = options.early_stopping_on, .patience = options.patience};
  for (size_t i = 0; i < options.metrics.size(); ++i) {
    const std::string& name = options.metrics[i];
    out.metrics.push_back({.name = name,
                           .higher_is_better = name == "bleu" || name == "chrf",
                           .epsilon = i < options.metric_epsilons.size() ? options.metric_epsilons[i] : 0});
  }
  return out;
}

}  // namespace floe

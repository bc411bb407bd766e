#include "translation_flags.h"

#include <CLI/CLI.hpp>

namespace floe {
namespace {

template <class T>
void take(const std::optional<T>& given, T& option) {
  if (given) option = *given;
}

}  // namespace

void TranslationFlags::add_to(CLI::App& app) {
  app.add_option("--model", model, "the model's folder");
  app.add_option("--beam", beam, "hypotheses kept at each step; 1 is greedy");
  app.add_option("--length-penalty", length_penalty, "score = log probability / length^A");
  app.add_option("--n-best", n_best, "translations of each line");
  app.add_option("--min-length", min_length, "tokens at least");
  app.add_option("--max-length", max_length, "tokens at most");
  app.add_option("--min-length-ratio", min_length_ratio, "tokens at least, times the source's");
  app.add_option("--max-length-ratio", max_length_ratio,
                 "tokens at most, times the source's, plus 10; 0: no such limit");
  CLI::Option* draws = app.add_flag("--sample", sample, "draw translations in place of a beam");
  app.add_option("--temperature", sampling.temperature, "of the draws; 0: the most probable token")
      ->needs(draws);
  app.add_option("--top-k", sampling.top_k, "draw from the K most probable tokens; 0: from all")
      ->needs(draws);
  app.add_option("--top-p", sampling.top_p, "draw from the fewest tokens that have probability P together")
      ->needs(draws);
  app.add_option("--seed", sampling.seed, "same seed and text, same draws")->needs(draws);
  app.add_option("--repetition-penalty", repetition_penalty,
                 "above 1: tokens that occurred become less probable");
  app.add_option("--no-repeat-ngram", no_repeat_ngram, "no N tokens in a row occur twice");
  app.add_option("--loop-ngram", loop_ngram, "cut a translation that repeats up to N tokens again and again");
  app.add_option("--suppress", suppress, "tokens that never occur");
  app.add_flag("--replace-unknown", replace_unknown,
               "put the aligned source token in the place of an unknown one");
  app.add_flag("--split-sentences", split_sentences, "translate the sentences of a line one by one");
  app.add_option("--language", language, "of the source, for --split-sentences: en, zh, ...");
  app.add_flag("--strict", strict, "over-long lines and invalid UTF-8 are errors");
  app.add_option("--batch-tokens", batch_tokens, "padded tokens times beams at once");
  device.add_to(app);
  app.add_option("--precision", precision, "f32 (unless given) or, on cuda, bf16");
  app.add_flag("--no-kv-cache", no_kv_cache, "read the whole prefix anew at each step, to compare");
}

TranslatorOptions TranslationFlags::options(const GenerationDefaults& defaults) const {
  TranslatorOptions out = options_of(defaults);
  SearchOptions& search = out.search;
  take(beam, search.beam);
  take(min_length, search.min_length);
  take(max_length, search.max_length);
  take(min_length_ratio, search.min_length_ratio);
  take(max_length_ratio, search.max_length_ratio);
  take(length_penalty, search.length_penalty.alpha);
  take(repetition_penalty, search.repetition_penalty);
  take(no_repeat_ngram, search.no_repeat_ngram);
  search.n_best = n_best;
  search.loop_ngram = loop_ngram;
  search.sampling = sample;
  search.sample = sampling;
  out.suppressed = suppress;
  out.replace_unknown = replace_unknown;
  out.split_sentences = split_sentences;
  out.language = language;
  out.strict = strict;
  take(batch_tokens, out.batch_tokens);
  return out;
}

ModelSessionOptions TranslationFlags::session(const TranslatorOptions& options) const {
  Precision chosen = Precision::f32;
  parse(precision, &chosen);
  return {.kv_cache = !no_kv_cache, .beam = options.search.beam, .precision = chosen};
}

}  // namespace floe

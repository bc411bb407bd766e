// Runs a SentenceSearch against a scripted model: a function from the tokens so far to logits. The step's ops
// run through the reference evaluator.
#pragma once
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "decode/sentence_search.h"
#include "ir/builder.h"
#include "ir/evaluate.h"
#include "ops/all.h"
#include "ops/search/search.h"

namespace floe {

using Script = std::function<std::vector<float>(const std::vector<int32_t>& tokens)>;

inline Graph driver_graph(int64_t beam_in, int64_t beam, int64_t vocabulary, int64_t history,
                          const SearchOptions& options) {
  Graph graph(all_ops(), "search");
  Builder b(graph);
  const auto ints = [&](const char* name, Dims dims) { return b.input(name, {DType::i32, std::move(dims)}); };
  const Dim rows(beam_in);
  const Value lengths = ints("lengths", {rows});
  const Value ends = ints("ends", {Dim(1), Dim(static_cast<int64_t>(options.ends.size()))});
  const Value logits = search_penalties(
      b, {.logits = b.input("logits", {DType::f32, {rows, Dim(vocabulary)}}),
          .history = ints("history", {rows, Dim(history)}),
          .lengths = lengths,
          .repetition = b.input("repetition", {DType::f32, {Dim(1)}}),
          .ngram = ints("ngram", {Dim(1)}),
          .min_length = ints("min_length", {Dim(1)}),
          .ends = ends,
          .suppressed = ints("suppressed", {Dim(1), Dim(static_cast<int64_t>(options.suppressed.size()))}),
          .forced = ints("forced", {Dim(1)}),
          .beam = beam_in});
  const Candidates c = beam_candidates(b, logits, b.input("scores", {DType::f32, {rows}}), beam_in, 2 * beam);
  const Advance a = beam_advance(b, c, ends, ints("phase", {Dim(1)}), beam_in, beam);
  b.output("values", c.values);
  b.output("tokens", c.tokens);
  b.output("parents", c.parents);
  b.output("log_probs", c.log_probs);
  b.output("picks", a.picks);
  b.output("ended", a.ended);
  b.output("rows", a.rows);
  b.output("next", a.tokens);
  b.output("scores", a.scores);
  return graph;
}

// Gives the best `take` hypotheses.
inline std::vector<Hypothesis> run_search(const SearchOptions& options, LengthLimits limits,
                                          const std::vector<int32_t>& prefix, int64_t vocabulary,
                                          const Script& script, int64_t take) {
  SentenceSearch search(options, limits, prefix.size());
  std::vector<std::vector<int32_t>> paths{{}};
  RefTensor scores(DType::f32, {1});
  for (;;) {
    const auto width = static_cast<int64_t>(paths.size());
    const int64_t history = limits.max;
    RefMap in;
    const auto ints = [&](const char* name, Shape shape, std::vector<int64_t> values) {
      RefTensor t(DType::i32, std::move(shape));
      t.i = std::move(values);
      in[name] = std::move(t);
    };
    RefTensor logits(DType::f32, {width, vocabulary});
    std::vector<int64_t> past;
    for (int64_t r = 0; r < width; ++r) {
      const std::vector<float> row = script(paths[static_cast<size_t>(r)]);
      std::copy(row.begin(), row.end(), logits.f.begin() + r * vocabulary);
      std::vector<int64_t> line(paths[static_cast<size_t>(r)].begin(), paths[static_cast<size_t>(r)].end());
      line.resize(static_cast<size_t>(history), 0);
      past.insert(past.end(), line.begin(), line.end());
    }
    in["logits"] = std::move(logits);
    in["scores"] = scores;
    in["repetition"] = RefTensor(DType::f32, {1});
    in["repetition"].f = {options.repetition_penalty};
    ints("history", {width, history}, past);
    ints("lengths", {width}, std::vector<int64_t>(static_cast<size_t>(width), search.position()));
    ints("ngram", {1}, {options.no_repeat_ngram});
    ints("min_length", {1}, {search.min_length()});
    ints("ends", {1, static_cast<int64_t>(options.ends.size())}, {options.ends.begin(), options.ends.end()});
    ints("suppressed", {1, static_cast<int64_t>(options.suppressed.size())},
         {options.suppressed.begin(), options.suppressed.end()});
    const auto at = static_cast<size_t>(search.position());
    ints("forced", {1}, {at < prefix.size() ? prefix[at] : -1});
    ints("phase", {1}, {at < prefix.size() ? 0 : at == prefix.size() && at > 0 ? 1 : 2});
    const RefMap out =
        evaluate(driver_graph(width, options.beam, vocabulary, history, options), in, {}).outputs;

    const auto floats_of = [&](const char* name) {
      const auto& f = out.at(name).f;
      return std::vector<float>(f.begin(), f.end());
    };
    const auto ints_of = [&](const char* name) {
      const auto& i = out.at(name).i;
      return std::vector<int32_t>(i.begin(), i.end());
    };
    const auto values = floats_of("values"), log_probs = floats_of("log_probs");
    const auto tokens = ints_of("tokens"), parents = ints_of("parents"), picks = ints_of("picks"),
               ended = ints_of("ended"), rows = ints_of("rows"), next = ints_of("next");
    if (search.step({values, tokens, parents, log_probs, picks, ended})) return search.take(take);
    std::vector<std::vector<int32_t>> continued;
    for (size_t place = 0; place < rows.size(); ++place) {
      continued.push_back(paths[static_cast<size_t>(rows[place])]);
      continued.back().push_back(next[place]);
    }
    paths = std::move(continued);
    scores = out.at("scores");
  }
}

}  // namespace floe

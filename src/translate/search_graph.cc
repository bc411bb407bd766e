#include "translate/search_graph.h"

#include "ops/all.h"
#include "ops/reshape/reshape.h"
#include "ops/search/search.h"

namespace floe {

Graph search_graph(const ModelConfig& config, const SearchGraphOptions& options) {
  Graph graph(all_ops(), options.name);
  Builder b(graph);
  SymbolTable& symbols = graph.symbols();
  const Dim R = symbols.declare("R");
  const Dim B = floor_div(R, Dim(options.beam_in));
  const Dims lines{symbols.declare("M"), symbols.declare("P")};
  const auto ints = [&](const char* name, Dims dims) { return b.input(name, {DType::i32, std::move(dims)}); };
  const auto floats = [&](const char* name, Dims dims) {
    return b.input(name, {DType::f32, std::move(dims)});
  };

  const Value positions = ints("positions", {R});
  const Value rows = ints("rows", {R});
  StepValues step;
  Value newest;
  if (options.cached) {
    const Value table = b.state(kTableState, {DType::i32, lines}, {{"trainable", false}});
    const BeamRows now = beam_rows(b, table, rows, positions, ints("slots", {R}));
    b.update(kTableState, now.state);
    step = build_step(b, config, {.cache = options.cache}, {.positions = positions, .table = now.current});
    newest = reshape(b, step.tokens, {R});
  } else {
    step = build_uncached_step(b, config, options.cache);
    newest = ints("newest", {R});
  }

  const Builder::Scope scope(b, "search");
  const Value history = b.state(kHistoryState, {DType::i32, lines}, {{"trainable", false}});
  const BeamRows said = beam_rows(b, history, rows, ints("past", {R}), newest);
  b.update(kHistoryState, said.state);
  const Value ends = ints("ends", {B, symbols.declare("E")});
  const Value logits = search_penalties(b, {.logits = step.logits,
                                            .history = said.current,
                                            .lengths = positions,  // as many tokens as precede the next one
                                            .repetition = floats("repetition", {B}),
                                            .ngram = ints("ngram", {B}),
                                            .min_length = ints("min_length", {B}),
                                            .ends = ends,
                                            .suppressed = ints("suppressed", {B, symbols.declare("U")}),
                                            .forced = ints("forced", {B}),
                                            .beam = options.beam_in});
  const Value scores = floats("scores", {R});
  const Candidates c = options.sampling
                           ? sample(b, {.logits = logits,
                                        .scores = scores,
                                        .temperature = floats("temperature", {R}),
                                        .top_k = ints("top_k", {R}),
                                        .top_p = floats("top_p", {R}),
                                        .seeds = ints("seeds", {R}),
                                        .ordinals = ints("ordinals", {R}),
                                        .draws = ints("draws", {R}),
                                        .positions = positions,
                                        .op_id = b.next_op_id()})
                           : beam_candidates(b, logits, scores, options.beam_in, 2 * options.beam);
  const Advance next = beam_advance(b, c, ends, ints("phase", {B}), options.beam_in, options.beam);
  b.output("values", c.values);
  b.output("candidates", c.tokens);
  b.output("parents", c.parents);
  b.output("log_probs", c.log_probs);
  b.output("picks", next.picks);
  b.output("ended", next.ended);
  b.output("next_rows", next.rows);
  b.output("next_tokens", next.tokens);
  b.output("next_scores", next.scores);
  return graph;
}

}  // namespace floe

#include "translate/search_graph.h"

#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/reshape/reshape.h"
#include "ops/search/search.h"
#include "ops/slice/slice.h"

namespace floe {
namespace {

class SearchBuilder {
 public:
  SearchBuilder(Graph& graph, const ModelConfig& config, const SearchGraphOptions& options)
      : b_(graph), config_(config), options_(options) {
    SymbolTable& symbols = graph.symbols();
    rows_ = symbols.declare("R");
    sentences_ = floor_div(rows_, Dim(options.beam));
    lines_ = symbols.declare("M");
    positions_ = Dim(options.positions);
  }

  void build() {
    kept_ = {state(kRowsState, DType::i32, {lines_}), state(kTokensState, DType::i32, {lines_}),
             state(kScoresState, DType::f32, {lines_})};
    turn_ = turn();
    b_.update(kClockState, turn_.clock);
    const Value logits = options_.cached ? cached_logits() : uncached_logits();
    const Builder::Scope scope(b_, "search");
    const Value ends = ints("ends", {sentences_, symbol("E")});
    const Candidates c = candidates(penalized(logits, ends));
    const Advance next = beam_advance(b_, c, ends, turn_.phase, options_.beam, options_.beam);
    const Kept kept = search_keep(b_, kept_, next);
    b_.update(kRowsState, kept.rows);
    b_.update(kTokensState, kept.tokens);
    b_.update(kScoresState, kept.scores);
    b_.output("values", c.values);
    b_.output("candidates", c.tokens);
    b_.output("parents", c.parents);
    b_.output("log_probs", c.log_probs);
    b_.output("picks", next.picks);
    b_.output("ended", next.ended);
  }

 private:
  Dim symbol(const char* name) { return b_.graph().symbols().declare(name); }
  Value ints(const char* name, Dims dims) { return b_.input(name, {DType::i32, std::move(dims)}); }
  Value floats(const char* name, Dims dims) { return b_.input(name, {DType::f32, std::move(dims)}); }
  Value state(const char* name, DType dtype, Dims dims) {
    return b_.state(name, {dtype, std::move(dims)}, {{"trainable", false}});
  }

  Turn turn() {
    const Builder::Scope scope(b_, "search");
    return search_turn(b_,
                       {.clock = state(kClockState, DType::i32, {Dim(2)}),
                        .epoch = ints("epoch", {}),
                        .rows = kept_.rows,
                        .tokens = kept_.tokens,
                        .scores = kept_.scores,
                        .start_rows = ints("start_rows", {rows_}),
                        .start_tokens = ints("start_tokens", {rows_}),
                        .start_scores = floats("start_scores", {rows_}),
                        .start_positions = ints("start_positions", {sentences_}),
                        .first_slots = ints("first_slots", {sentences_}),
                        .limits = ints("limits", {sentences_}),
                        .prefix = ints("prefix", {sentences_, symbol("F")}),
                        .prefix_lengths = ints("prefix_lengths", {sentences_})},
                       options_.beam);
  }

  Value history() {
    const Value before = state(kHistoryState, DType::i32, {lines_, positions_});
    const BeamRows said = beam_rows(b_, before, turn_.rows, turn_.past, turn_.tokens);
    b_.update(kHistoryState, said.state);
    return said.current;
  }

  Value cached_logits() {
    const Value table = state(kTableState, DType::i32, {lines_, positions_});
    const BeamRows now = beam_rows(b_, table, turn_.rows, turn_.positions, turn_.slots);
    b_.update(kTableState, now.state);
    const StepValues step = build_step(b_, config_, {.cache = options_.cache},
                                       {.tokens = reshape(b_, turn_.tokens, {rows_, Dim(1)}),
                                        .positions = turn_.positions,
                                        .table = now.current,
                                        .lengths = turn_.lengths});
    const Builder::Scope scope(b_, "search");
    history_ = history();
    return step.logits;
  }

  // The start token, then what has been said.
  Value uncached_logits() {
    history_ = history();
    const Dim length = b_.graph().symbols().declare("T", {.min = 1, .max = options_.positions});
    const Value start = broadcast(b_, b_.scalar(config_.start_id, DType::i32), {rows_, Dim(1)});
    const Value said = slice(b_, history_, 1, Dim(0), length - Dim(1));
    return build_uncached_step(b_, config_, options_.cache, concat(b_, {start, said}, 1)).logits;
  }

  Value penalized(Value logits, Value ends) {
    return search_penalties(b_, {.logits = logits,
                                 .history = history_,
                                 .lengths = turn_.positions,  // as many tokens as precede the next one
                                 .repetition = floats("repetition", {sentences_}),
                                 .ngram = ints("ngram", {sentences_}),
                                 .min_length = ints("min_length", {sentences_}),
                                 .ends = ends,
                                 .suppressed = ints("suppressed", {sentences_, symbol("U")}),
                                 .forced = turn_.forced,
                                 .beam = options_.beam});
  }

  Candidates candidates(Value logits) {
    if (!options_.sampling)
      return beam_candidates(b_, logits, turn_.scores, options_.beam, 2 * options_.beam);
    return sample(b_, {.logits = logits,
                       .scores = turn_.scores,
                       .temperature = floats("temperature", {rows_}),
                       .top_k = ints("top_k", {rows_}),
                       .top_p = floats("top_p", {rows_}),
                       .seeds = ints("seeds", {rows_}),
                       .ordinals = ints("ordinals", {rows_}),
                       .draws = ints("draws", {rows_}),
                       .positions = turn_.positions,
                       .op_id = b_.next_op_id()});
  }

  Builder b_;
  const ModelConfig& config_;
  const SearchGraphOptions& options_;
  Dim rows_, sentences_, lines_, positions_;
  Kept kept_;
  Turn turn_;
  Value history_;
};

}  // namespace

Graph search_graph(const ModelConfig& config, const SearchGraphOptions& options) {
  Graph graph(all_ops(), kSearchEntry);
  SearchBuilder(graph, config, options).build();
  return graph;
}

}  // namespace floe

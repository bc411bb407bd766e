#include "passes/search_steps.h"

#include <gtest/gtest.h>

#include <functional>

#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"
#include "ops/search/joined.h"

namespace floe {
namespace {

bool always(const Graph&, const Node&) { return true; }

// A search's step of six rows in beams of two around a model that adds one number to the tokens.
struct StepBuilder {
  Graph graph{all_ops(), "step"};
  Builder b{graph};
  SearchTurn turn;
  Value table, history;

  Value ints(const char* name, Dims dims) { return b.input(name, {DType::i32, std::move(dims)}); }
  Value floats(const char* name, Dims dims) { return b.input(name, {DType::f32, std::move(dims)}); }
  Value state(const char* name, Dims dims, DType type = DType::i32) { return b.state(name, {type, std::move(dims)}); }

  void door() {
    turn = {.clock = state("clock", {2}),
            .epoch = ints("epoch", {}),
            .rows = state("rows", {8}),
            .tokens = state("tokens", {8}),
            .scores = state("scores", {8}, DType::f32),
            .start_rows = ints("start_rows", {6}),
            .start_tokens = ints("start_tokens", {6}),
            .start_scores = floats("start_scores", {6}),
            .start_positions = ints("start_positions", {3}),
            .first_slots = ints("first_slots", {3}),
            .limits = ints("limits", {3}),
            .prefix = ints("prefix", {3, 2}),
            .prefix_lengths = ints("prefix_lengths", {3})};
    table = state("table", {8, 12});
    history = state("history", {8, 12});
  }
  SearchPenalties penalties(Value past, const Turn& t) {
    return {.logits = floats("logits", {6, 50}),
            .history = past,
            .lengths = t.positions,
            .repetition = floats("repetition", {3}),
            .ngram = ints("ngram", {3}),
            .min_length = ints("min_length", {3}),
            .ends = ints("ends", {3, 1}),
            .suppressed = ints("suppressed", {3, 1}),
            .forced = t.forced,
            .beam = 2};
  }
  void end(const Turn& t, const BeamRows& slots, const BeamRows& past, const Candidates& c, Value picks,
           Value ended, const Kept& kept) {
    b.update("clock", t.clock);
    b.update("table", slots.state);
    b.update("history", past.state);
    b.update("rows", kept.rows);
    b.update("tokens", kept.tokens);
    b.update("scores", kept.scores);
    b.output("values", c.values);
    b.output("tokens", c.tokens);
    b.output("picks", picks);
    b.output("ended", ended);
  }
};

// `extra` may add nodes and ends before the graph is done.
using Extra = std::function<void(StepBuilder&, Value penalized, const Advance&)>;

Graph by_parts(const Extra& extra = {}) {
  StepBuilder s;
  s.door();
  const Turn t = search_turn(s.b, s.turn, 2);
  const BeamRows slots = beam_rows(s.b, s.table, t.rows, t.positions, t.slots);
  const BeamRows past = beam_rows(s.b, s.history, t.rows, t.past, t.tokens);
  const SearchPenalties options = s.penalties(past.current, t);
  const Value penalized = search_penalties(s.b, options);
  const Candidates c = beam_candidates(s.b, penalized, t.scores, 2, 4);
  const Advance next = beam_advance(s.b, c, options.ends, t.phase, 2, 2);
  const Kept kept = search_keep(s.b, {s.turn.rows, s.turn.tokens, s.turn.scores}, next);
  if (extra) extra(s, penalized, next);
  s.end(t, slots, past, c, next.picks, next.ended, kept);
  return std::move(s.graph);
}

TEST(SearchSteps, BecomeAKernelBeforeTheModelAndOneAfterIt) {
  const Graph joined = join_search_steps(by_parts(), always);
  verify(joined, "search_steps");
  StepBuilder s;
  s.door();

  const Begun begun = search_begin(s.b, {.turn = s.turn, .table = s.table, .history = s.history, .beam = 2});
  const Choice choice = search_choice(s.b, {.penalties = s.penalties(begun.history.current, begun.turn),
                                            .scores = begun.turn.scores,
                                            .phase = begun.turn.phase,
                                            .before = {s.turn.rows, s.turn.tokens, s.turn.scores},
                                            .candidates = 4});
  s.end(begun.turn, begun.table, begun.history, choice.candidates, choice.picks, choice.ended, choice.kept);
  const auto ordered = [&](const Graph& graph) {
    std::vector<std::string> ops;
    for (const Node& node : graph.nodes()) {
      if (node.op->name != "input" && node.op->name != "state")
        ops.push_back(node.op->name + node.attrs.text());
    }
    return ops;
  };
  EXPECT_EQ(ordered(joined), ordered(s.graph));
  // A rewrite puts inputs first, so values have other numbers: what each operand and each end is, by name.
  const auto operands = [](const Graph& graph) {
    std::vector<std::string> names;
    const auto name = [&](Value value) {
      const Node& node = graph.producer(value);
      const std::string of = node.attrs.has("name") ? node.attrs.text("name") : node.op->name;
      return of + ":" + std::to_string(value.id - node.first.id);
    };
    for (const Node& node : graph.nodes()) {
      for (const Value input : node.inputs) names.push_back(name(input));
    }
    for (const NamedValue& end : graph.outputs()) names.push_back(end.name + "=" + name(end.value));
    for (const NamedValue& end : graph.updates()) names.push_back(end.name + "=" + name(end.value));
    return names;
  };
  EXPECT_EQ(operands(joined), operands(s.graph));
}

TEST(SearchSteps, StayWhereNoKernelTakesThemTogether) {
  const Graph before = by_parts();
  EXPECT_EQ(print(join_search_steps(before, [](const Graph&, const Node&) { return false; })), print(before));
  const Graph half = join_search_steps(
      before, [](const Graph&, const Node& node) { return node.op->name == "search_begin"; });
  verify(half, "search_steps");
  int keeps = 0, turns = 0;
  for (const Node& node : half.nodes()) {
    keeps += node.op->name == "search_keep";
    turns += node.op->name == "search_turn";
  }
  EXPECT_EQ(keeps, 1);
  EXPECT_EQ(turns, 0);
}

TEST(SearchSteps, LeaveAChoiceOfWhichOthersReadTheMiddle) {
  const auto has_choice = [](const Graph& graph) {
    const Graph joined = join_search_steps(graph, always);
    for (const Node& node : joined.nodes()) {
      if (node.op->name == "search_choice") return true;
    }
    return false;
  };
  EXPECT_TRUE(has_choice(by_parts()));
  EXPECT_FALSE(has_choice(by_parts([](StepBuilder& s, Value penalized, const Advance&) {
    s.b.output("negated", elementwise(s.b, "neg", {penalized}));
  })));
  EXPECT_FALSE(has_choice(
      by_parts([](StepBuilder& s, Value, const Advance& next) { s.b.output("rows", next.rows); })));
  EXPECT_TRUE(has_choice(
      by_parts([](StepBuilder& s, Value penalized, const Advance&) { s.b.output("penalized", penalized); })));
}

}  // namespace
}  // namespace floe

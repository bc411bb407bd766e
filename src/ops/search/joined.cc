#include "ops/search/joined.h"

#include "ops/all.h"
#include "ops/search/definitions.h"

namespace floe {
namespace {

enum BeginInput { kTable = 13, kHistory, kBeginInputs };
enum ChoiceInput {
  kLogits,
  kPast,
  kLengths,
  kRepetition,
  kNgram,
  kMinLength,
  kEnds,
  kSuppressed,
  kForced,
  kScores,
  kPhase,
  kKeptRows,
  kKeptTokens,
  kKeptScores,
  kChoiceInputs
};

Values meaning_of_begin(Builder& b, const Attrs& attrs, std::span<const Value> in) {
  const Turn t = search_turn(b,
                             {.clock = in[0],
                              .epoch = in[1],
                              .rows = in[2],
                              .tokens = in[3],
                              .scores = in[4],
                              .start_rows = in[5],
                              .start_tokens = in[6],
                              .start_scores = in[7],
                              .start_positions = in[8],
                              .first_slots = in[9],
                              .limits = in[10],
                              .prefix = in[11],
                              .prefix_lengths = in[12]},
                             attrs.integer("beam"));
  const BeamRows table = beam_rows(b, in[kTable], t.rows, t.positions, t.slots);
  const BeamRows history = beam_rows(b, in[kHistory], t.rows, t.past, t.tokens);
  return {t.clock, t.rows,   t.tokens, t.scores,    t.positions,   t.lengths,     t.slots,
          t.past,  t.forced, t.phase,  table.state, table.current, history.state, history.current};
}

Values meaning_of_choice(Builder& b, const Attrs& attrs, std::span<const Value> in) {
  const int64_t beam = attrs.integer("beam");
  const Value logits = search_penalties(b, {.logits = in[kLogits],
                                            .history = in[kPast],
                                            .lengths = in[kLengths],
                                            .repetition = in[kRepetition],
                                            .ngram = in[kNgram],
                                            .min_length = in[kMinLength],
                                            .ends = in[kEnds],
                                            .suppressed = in[kSuppressed],
                                            .forced = in[kForced],
                                            .beam = beam});
  const Candidates c = beam_candidates(b, logits, in[kScores], beam, attrs.integer("candidates"));
  const Advance next = beam_advance(b, c, in[kEnds], in[kPhase], beam, beam);
  const Kept kept = search_keep(b, {in[kKeptRows], in[kKeptTokens], in[kKeptScores]}, next);
  return {logits,     c.values,   c.tokens,  c.parents,   c.log_probs,
          next.picks, next.ended, kept.rows, kept.tokens, kept.scores};
}

using MeaningOf = Values (*)(Builder& b, const Attrs& attrs, std::span<const Value> in);

OpDef joined(std::string name, int inputs, MeaningOf meaning) {
  OpDef op;
  op.name = std::move(name);
  op.min_inputs = op.max_inputs = inputs;
  op.differentiable = false;
  op.meaning = [meaning](Builder& b, const Node& node, std::span<const Value> in) {
    return meaning(b, node.attrs, in);
  };
  // Types are those of the ops that it means, and refusals are theirs.
  op.infer = [meaning](const InferArgs& args) {
    Graph graph(all_ops(), "meaning");
    graph.symbols() = args.symbols;
    Builder b(graph);
    Values in;
    for (const Type& type : args.inputs) in.push_back(b.input("x" + std::to_string(in.size()), type));
    std::vector<Type> types;
    for (const Value out : meaning(b, args.attrs, in)) types.push_back(graph.type(out));
    return types;
  };
  return op;
}

}  // namespace

Begun search_begin(Builder& b, const SearchBegin& args) {
  const SearchTurn& t = args.turn;
  const Values r = b.add_all(
      "search_begin",
      {t.clock, t.epoch, t.rows, t.tokens, t.scores, t.start_rows, t.start_tokens, t.start_scores,
       t.start_positions, t.first_slots, t.limits, t.prefix, t.prefix_lengths, args.table, args.history},
      {{"beam", args.beam}});
  return {{r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9]}, {r[10], r[11]}, {r[12], r[13]}};
}

Choice search_choice(Builder& b, const SearchChoice& args) {
  const SearchPenalties& p = args.penalties;
  const Values r =
      b.add_all("search_choice",
                {p.logits, p.history, p.lengths, p.repetition, p.ngram, p.min_length, p.ends, p.suppressed,
                 p.forced, args.scores, args.phase, args.before.rows, args.before.tokens, args.before.scores},
                {{"beam", p.beam}, {"candidates", args.candidates}});
  return {r[0], {r[1], r[2], r[3], r[4]}, r[5], r[6], {r[7], r[8], r[9]}};
}

void define_joined(OpTable& table) {
  OpDef begin = joined("search_begin", kBeginInputs, meaning_of_begin);
  begin.summary = "search_turn, and beam_rows of the table and of the history: all before the model's step";
  begin.in_place = {{0, 0}, {10, kTable}, {12, kHistory}};
  table.add(std::move(begin));

  OpDef choice = joined("search_choice", kChoiceInputs, meaning_of_choice);
  choice.summary =
      "search_penalties, beam_candidates, beam_advance and search_keep: all after the model's step";
  choice.in_place = {{0, kLogits}, {7, kKeptRows}, {8, kKeptTokens}, {9, kKeptScores}};
  table.add(std::move(choice));
}

}  // namespace floe

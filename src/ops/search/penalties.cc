// search_penalties: types and values in double. search.h gives the meaning.
#include <limits>
#include <set>

#include "ir/evaluate.h"
#include "ops/search/definitions.h"
#include "ops/search/search.h"

namespace floe {
namespace {

enum Input { kLogits, kHistory, kLengths, kRepetition, kNgram, kMinLength, kEnds, kSuppressed, kForced };

std::vector<Type> infer(const InferArgs& args) {
  args.require_float(kLogits);
  args.require_rank(kLogits, 2);
  const int64_t beam = args.attrs.integer("beam");
  if (beam < 1) args.fail("beam must be at least 1, got {}", beam);
  const Dim rows = args.inputs[kLogits].dim(0);
  const Dim sentences = floor_div(rows, Dim(beam));
  require_i32(args, kHistory, 2, "history");
  require_i32(args, kLengths, 1, "lengths");
  require_dim(args, kLengths, 0, rows, "lengths");
  args.require_float(kRepetition);
  args.require_rank(kRepetition, 1);
  require_i32(args, kNgram, 1, "ngram");
  require_i32(args, kMinLength, 1, "min_length");
  require_i32(args, kEnds, 2, "ends");
  require_i32(args, kSuppressed, 2, "suppressed");
  require_i32(args, kForced, 1, "forced");
  constexpr const char* kNames[] = {"repetition", "ngram", "min_length", "ends", "suppressed", "forced"};
  for (int i = kRepetition; i <= kForced; ++i) require_dim(args, i, 0, sentences, kNames[i - kRepetition]);
  return {args.inputs[kLogits]};
}

std::vector<RefTensor> evaluate_penalties(const EvalArgs& args) {
  RefTensor out = args.inputs[kLogits];
  const int64_t rows = out.shape[0];
  const int64_t vocabulary = out.shape[1];
  const RefTensor& history = args.inputs[kHistory];
  const int64_t capacity = history.shape[1];
  const int64_t beam = args.attrs.integer("beam");
  for (int64_t r = 0; r < rows; ++r) {
    const auto s = static_cast<size_t>(r / beam);
    const auto known = [&](int64_t id) { return id >= 0 && id < vocabulary; };
    double* logits = out.f.data() + r * vocabulary;
    const int64_t* begin = history.i.data() + r * capacity;
    const std::vector<int64_t> past(begin, begin + args.inputs[kLengths].i[static_cast<size_t>(r)]);

    const double penalty = args.inputs[kRepetition].f[s];
    for (const int64_t id : std::set<int64_t>(past.begin(), past.end())) {
      if (known(id)) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
    std::set<int64_t> banned;
    const auto n = static_cast<size_t>(args.inputs[kNgram].i[s]);
    for (size_t at = 0; n > 0 && at + n <= past.size(); ++at) {
      const std::vector<int64_t> before(past.begin() + static_cast<int64_t>(at),
                                        past.begin() + static_cast<int64_t>(at + n - 1));
      const std::vector<int64_t> now(past.end() - static_cast<int64_t>(n - 1), past.end());
      if (before == now) banned.insert(past[at + n - 1]);
    }
    const auto ban_all = [&](Input input) {
      const int64_t width = args.inputs[input].shape[1];
      for (int64_t j = 0; j < width; ++j) {
        banned.insert(args.inputs[input].i[s * static_cast<size_t>(width) + static_cast<size_t>(j)]);
      }
    };
    if (static_cast<int64_t>(past.size()) < args.inputs[kMinLength].i[s]) ban_all(kEnds);
    ban_all(kSuppressed);
    const double none = -std::numeric_limits<double>::infinity();
    for (const int64_t id : banned) {
      if (known(id)) logits[id] = none;
    }
    const int64_t forced = args.inputs[kForced].i[s];
    if (known(forced)) {
      for (int64_t id = 0; id < vocabulary; ++id) logits[id] = id == forced ? 0 : none;
    }
  }
  return {out};
}

}  // namespace

Value search_penalties(Builder& b, const SearchPenalties& args) {
  return b.add("search_penalties",
               {args.logits, args.history, args.lengths, args.repetition, args.ngram, args.min_length,
                args.ends, args.suppressed, args.forced},
               {{"beam", args.beam}});
}

void define_search_penalties(OpTable& table) {
  OpDef op;
  op.name = "search_penalties";
  op.summary =
      "logits [R, V], history, lengths and options a sentence -> logits with penalties; forbidden ids -inf";
  op.min_inputs = op.max_inputs = 9;
  op.differentiable = false;
  op.in_place = {{0, 0}};
  op.infer = infer;
  op.evaluate = evaluate_penalties;
  table.add(std::move(op));
}

}  // namespace floe

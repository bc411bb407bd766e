// search_turn and search_keep: types and values. search.h gives the meaning.
#include <algorithm>
#include <limits>

#include "ir/evaluate.h"
#include "ops/search/definitions.h"
#include "ops/search/search.h"

namespace floe {
namespace {

constexpr double kDead = -std::numeric_limits<double>::infinity();

enum TurnInput {
  kClock,
  kEpoch,
  kRows,
  kTokens,
  kScores,
  kStartRows,
  kStartTokens,
  kStartScores,
  kStartPositions,
  kFirstSlots,
  kLimits,
  kPrefix,
  kPrefixLengths
};

void require_scores(const InferArgs& args, int input, std::string_view name) {
  const Type& type = args.inputs[static_cast<size_t>(input)];
  if (type.dtype != DType::f32 || type.rank() != 1)
    args.fail("{} must be f32 of rank 1, got {}", name, text_of(type));
}

std::vector<Type> infer_turn(const InferArgs& args) {
  const int64_t beam = args.attrs.integer("beam");
  if (beam < 1) args.fail("beam must be at least 1, got {}", beam);
  require_i32(args, kClock, 1, "clock");
  require_dim(args, kClock, 0, Dim(2), "clock");
  require_i32(args, kEpoch, 0, "epoch");
  require_i32(args, kRows, 1, "rows");
  require_i32(args, kTokens, 1, "tokens");
  require_scores(args, kScores, "scores");
  require_dim(args, kTokens, 0, args.inputs[kRows].dim(0), "tokens");
  require_dim(args, kScores, 0, args.inputs[kRows].dim(0), "scores");
  require_i32(args, kStartRows, 1, "start_rows");
  require_i32(args, kStartTokens, 1, "start_tokens");
  require_scores(args, kStartScores, "start_scores");
  const Dim rows = args.inputs[kStartRows].dim(0);
  require_dim(args, kStartTokens, 0, rows, "start_tokens");
  require_dim(args, kStartScores, 0, rows, "start_scores");
  const Dim sentences = floor_div(rows, Dim(beam));
  constexpr const char* kNames[] = {"start_positions", "first_slots", "limits", "prefix", "prefix_lengths"};
  for (int i = kStartPositions; i <= kPrefixLengths; ++i) {
    require_i32(args, i, i == kPrefix ? 2 : 1, kNames[i - kStartPositions]);
    require_dim(args, i, 0, sentences, kNames[i - kStartPositions]);
  }
  const Type ints{DType::i32, {rows}};
  const Type each{DType::i32, {sentences}};
  return {args.inputs[kClock], ints, ints, {DType::f32, {rows}}, ints, ints, ints, ints, each, each};
}

std::vector<RefTensor> evaluate_turn(const EvalArgs& args) {
  const auto in = [&](TurnInput input, int64_t at) { return args.inputs[input].i[static_cast<size_t>(at)]; };
  std::vector<RefTensor> out;
  for (size_t k = 0; k < args.shapes.size(); ++k)
    out.emplace_back(k == 3 ? DType::f32 : DType::i32, args.shapes[k]);
  const int64_t beam = args.attrs.integer("beam");
  const bool fresh = in(kEpoch, 0) != in(kClock, 0);
  const int64_t age = fresh ? 0 : in(kClock, 1) + 1;
  out[0].i = {in(kEpoch, 0), age};
  for (int64_t r = 0; r < out[1].size(); ++r) {
    const auto at = static_cast<size_t>(r);
    const int64_t s = r / beam;
    const int64_t position = in(kStartPositions, s) + age;
    const double score = args.inputs[fresh ? kStartScores : kScores].f[at];
    const bool alive = position < in(kLimits, s) && score != kDead;
    out[1].i[at] = alive ? in(fresh ? kStartRows : kRows, r) : 0;
    out[2].i[at] = alive ? in(fresh ? kStartTokens : kTokens, r) : 0;
    out[3].f[at] = alive ? score : kDead;
    out[4].i[at] = alive ? position : 0;
    out[5].i[at] = alive ? position + 1 : 0;
    out[6].i[at] = alive ? in(kFirstSlots, s) + r % beam * in(kLimits, s) + position : -1;
    out[7].i[at] = alive ? position - 1 : -1;
  }
  const int64_t width = args.inputs[kPrefix].shape[1];
  for (int64_t s = 0; s < out[8].size(); ++s) {
    const auto at = static_cast<size_t>(s);
    const int64_t position = in(kStartPositions, s) + age;
    const int64_t prefix = in(kPrefixLengths, s);
    out[8].i[at] = position < std::min(prefix, width) ? in(kPrefix, s * width + position) : -1;
    out[9].i[at] = position < prefix ? 0 : position == prefix && prefix > 0 ? 1 : 2;
  }
  return out;
}

std::vector<Type> infer_keep(const InferArgs& args) {
  constexpr const char* kNames[] = {"rows", "tokens", "scores"};
  for (int i = 0; i < 6; ++i) {
    const std::string name = fmt::format("{}{}", i < 3 ? "kept " : "", kNames[i % 3]);
    if (i % 3 == 2) {
      require_scores(args, i, name);
    } else {
      require_i32(args, i, 1, name);
    }
    require_dim(args, i, 0, args.inputs[i < 3 ? 0 : 3].dim(0), name);
  }
  return {args.inputs[0], args.inputs[1], args.inputs[2]};
}

std::vector<RefTensor> evaluate_keep(const EvalArgs& args) {
  std::vector<RefTensor> out{args.inputs[0], args.inputs[1], args.inputs[2]};
  for (size_t k = 0; k < 3; ++k) {
    const RefTensor& now = args.inputs[k + 3];
    if (now.size() > out[k].size()) fail_user("{} rows do not fit a state of {}", now.size(), out[k].size());
    std::copy(now.i.begin(), now.i.end(), out[k].i.begin());
    std::copy(now.f.begin(), now.f.end(), out[k].f.begin());
  }
  return out;
}

}  // namespace

Turn search_turn(Builder& b, const SearchTurn& a, int64_t beam) {
  const Values r =
      b.add_all("search_turn",
                {a.clock, a.epoch, a.rows, a.tokens, a.scores, a.start_rows, a.start_tokens, a.start_scores,
                 a.start_positions, a.first_slots, a.limits, a.prefix, a.prefix_lengths},
                {{"beam", beam}});
  return {r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9]};
}

Kept search_keep(Builder& b, const Kept& before, const Advance& next) {
  const Values r = b.add_all(
      "search_keep", {before.rows, before.tokens, before.scores, next.rows, next.tokens, next.scores});
  return {r[0], r[1], r[2]};
}

void define_turn(OpTable& table) {
  OpDef turn;
  turn.name = "search_turn";
  turn.summary =
      "what the coming step of each row reads: as given in a new epoch, else as the last step left it";
  turn.min_inputs = turn.max_inputs = 13;
  turn.differentiable = false;
  turn.in_place = {{0, 0}};
  turn.infer = infer_turn;
  turn.evaluate = evaluate_turn;
  table.add(std::move(turn));

  OpDef keep;
  keep.name = "search_keep";
  keep.summary =
      "rows, tokens, scores [M], and those of R rows -> the three states with their first R lines new";
  keep.min_inputs = keep.max_inputs = 6;
  keep.differentiable = false;
  keep.in_place = {{0, 0}, {1, 1}, {2, 2}};
  keep.infer = infer_keep;
  keep.evaluate = evaluate_keep;
  table.add(std::move(keep));
}

}  // namespace floe

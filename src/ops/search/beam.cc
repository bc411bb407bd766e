// beam_candidates, beam_advance and beam_rows: types, values in double, no gradients. search.h gives the
// meaning.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/search/definitions.h"
#include "ops/search/search.h"

namespace floe {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

void require_positive(const InferArgs& args, std::string_view name) {
  const int64_t value = args.attrs.integer(name);
  if (value < 1) args.fail("{} must be at least 1, got {}", name, value);
}

std::vector<Type> infer_candidates(const InferArgs& args) {
  args.require_float(0);
  args.require_rank(0, 2);
  args.require_float(1);
  args.require_rank(1, 1);
  require_positive(args, "beam");
  require_positive(args, "candidates");
  require_dim(args, 1, 0, args.inputs[0].dim(0), "scores");
  const Dims dims{floor_div(args.inputs[0].dim(0), Dim(args.attrs.integer("beam"))),
                  Dim(args.attrs.integer("candidates"))};
  const DType type = args.inputs[0].dtype;
  return {{type, dims}, {DType::i32, dims}, {DType::i32, dims}, {type, dims}};
}

std::vector<RefTensor> evaluate_candidates(const EvalArgs& args) {
  const RefTensor& logits = args.inputs[0];
  const RefTensor& scores = args.inputs[1];
  const int64_t beam = args.attrs.integer("beam");
  const int64_t candidates = args.attrs.integer("candidates");
  const int64_t vocabulary = logits.shape[1];
  RefTensor values(logits.dtype, args.shapes[0]), tokens(DType::i32, args.shapes[0]),
      parents(DType::i32, args.shapes[0]), log_probs(logits.dtype, args.shapes[0]);
  struct Entry {
    double value, log_prob;
    int64_t place, id;
  };
  for (int64_t s = 0; s < args.shapes[0][0]; ++s) {
    std::vector<Entry> all;
    bool faulty = false;
    for (int64_t place = 0; place < beam; ++place) {
      const int64_t row = s * beam + place;
      const double score = scores.f[static_cast<size_t>(row)];
      if (score == kNone) continue;
      const double* x = logits.f.data() + row * vocabulary;
      double most = kNone;
      double sum = 0;
      bool nan = std::isnan(score);
      for (int64_t id = 0; id < vocabulary; ++id) {
        nan = nan || std::isnan(x[id]);
        most = std::max(most, x[id]);
      }
      for (int64_t id = 0; id < vocabulary; ++id) sum += std::exp(x[id] - most);
      if (nan || std::isinf(score) || most == std::numeric_limits<double>::infinity()) {
        faulty = true;
        continue;
      }
      for (int64_t id = 0; id < vocabulary; ++id) {
        const double log_prob = x[id] - most - std::log(sum);
        if (x[id] != kNone) all.push_back({score + log_prob, log_prob, place, id});
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Entry& a, const Entry& b) { return a.value > b.value; });
    for (int64_t j = 0; j < candidates; ++j) {
      const auto at = static_cast<size_t>(s * candidates + j);
      const bool found = j < static_cast<int64_t>(all.size());
      const Entry entry =
          found ? all[static_cast<size_t>(j)]
                : Entry{faulty ? std::numeric_limits<double>::quiet_NaN() : kNone, kNone, -1, -1};
      values.f[at] = entry.value;
      tokens.i[at] = entry.id;
      parents.i[at] = entry.place;
      log_probs.f[at] = entry.log_prob;
    }
  }
  return {values, tokens, parents, log_probs};
}

std::vector<Type> infer_advance(const InferArgs& args) {
  args.require_float(0);
  args.require_rank(0, 2);
  require_positive(args, "beam_in");
  require_positive(args, "beam");
  const Type& values = args.inputs[0];
  require_i32(args, 1, 2, "tokens");
  require_i32(args, 2, 2, "parents");
  require_i32(args, 3, 2, "ends");
  require_i32(args, 4, 1, "phase");
  for (int axis = 0; axis < 2; ++axis) {
    require_dim(args, 1, axis, values.dim(axis), "tokens");
    require_dim(args, 2, axis, values.dim(axis), "parents");
  }
  require_dim(args, 3, 0, values.dim(0), "ends");
  require_dim(args, 4, 0, values.dim(0), "phase");
  const Dim beam(args.attrs.integer("beam"));
  const Dims rows{values.dim(0) * beam};
  const Dims places{values.dim(0), beam};
  return {{DType::i32, rows},
          {DType::i32, rows},
          {values.dtype, rows},
          {DType::i32, places},
          {DType::i32, places}};
}

std::vector<RefTensor> evaluate_advance(const EvalArgs& args) {
  const RefTensor& values = args.inputs[0];
  const int64_t width = values.shape[1];
  const int64_t beam = args.attrs.integer("beam");
  const int64_t beam_in = args.attrs.integer("beam_in");
  const int64_t ends = args.inputs[3].shape[1];
  RefTensor rows(DType::i32, args.shapes[0]), tokens(DType::i32, args.shapes[1]),
      scores(values.dtype, args.shapes[2]), picks(DType::i32, args.shapes[3]),
      ended(DType::i32, args.shapes[4]);
  std::fill(ended.i.begin(), ended.i.end(), -1);
  for (int64_t s = 0; s < values.shape[0]; ++s) {
    const int64_t phase = args.inputs[4].i[static_cast<size_t>(s)];
    const auto token = [&](int64_t j) { return args.inputs[1].i[static_cast<size_t>(s * width + j)]; };
    const auto is_end = [&](int64_t j) {
      const auto first = args.inputs[3].i.begin() + s * ends;
      return phase > 0 && std::find(first, first + ends, token(j)) != first + ends;
    };
    std::vector<int64_t> live, later;
    for (int64_t j = 0; j < width; ++j) {
      if (token(j) < 0 || (phase == 1 && j > 0 && is_end(j))) continue;
      if (static_cast<int64_t>(live.size()) < beam) {
        live.push_back(j);
      } else if (!is_end(j)) {
        later.push_back(j);
      }
    }
    for (int64_t place = 0; place < beam; ++place) {
      const auto at = static_cast<size_t>(s * beam + place);
      int64_t pick = place < static_cast<int64_t>(live.size()) ? live[static_cast<size_t>(place)] : -1;
      if (pick >= 0 && is_end(pick)) {
        ended.i[at] = pick;
        pick = later.empty() ? -1 : later.front();
        if (pick >= 0) later.erase(later.begin());
      }
      const auto from = static_cast<size_t>(s * width + std::max<int64_t>(pick, 0));
      picks.i[at] = pick;
      rows.i[at] = s * beam_in + (pick < 0 ? 0 : args.inputs[2].i[from]);
      tokens.i[at] = pick < 0 ? 0 : args.inputs[1].i[from];
      scores.f[at] = pick < 0 ? kNone : values.f[from];
    }
  }
  return {rows, tokens, scores, picks, ended};
}

std::vector<Type> infer_rows(const InferArgs& args) {
  require_i32(args, 0, 2, "state");
  constexpr const char* kNames[] = {"rows", "positions", "entries"};
  for (int i = 1; i <= 3; ++i) {
    require_i32(args, i, 1, kNames[i - 1]);
    require_dim(args, i, 0, args.inputs[1].dim(0), kNames[i - 1]);
  }
  return {args.inputs[0], {DType::i32, {args.inputs[1].dim(0), args.inputs[0].dim(1)}}};
}

std::vector<RefTensor> evaluate_rows(const EvalArgs& args) {
  RefTensor state = args.inputs[0];
  RefTensor current(DType::i32, args.shapes[1]);
  const int64_t width = state.shape[1];
  for (int64_t r = 0; r < current.shape[0]; ++r) {
    const auto at = static_cast<size_t>(r);
    const int64_t row = args.inputs[1].i[at];
    if (row < 0 || row >= state.shape[0]) fail_user("row {} is outside 0..{}", row, state.shape[0] - 1);
    std::copy_n(args.inputs[0].i.begin() + row * width, width, current.i.begin() + r * width);
    const int64_t position = args.inputs[2].i[at];
    if (position >= 0 && position < width) {
      current.i[static_cast<size_t>(r * width + position)] = args.inputs[3].i[at];
    }
  }
  std::copy(current.i.begin(), current.i.end(), state.i.begin());
  return {state, current};
}

}  // namespace

Candidates beam_candidates(Builder& b, Value logits, Value scores, int64_t beam, int64_t candidates) {
  const Values r =
      b.add_all("beam_candidates", {logits, scores}, {{"beam", beam}, {"candidates", candidates}});
  return {r[0], r[1], r[2], r[3]};
}

Advance beam_advance(Builder& b, const Candidates& candidates, Value ends, Value phase, int64_t beam_in,
                     int64_t beam) {
  const Values r =
      b.add_all("beam_advance", {candidates.values, candidates.tokens, candidates.parents, ends, phase},
                {{"beam_in", beam_in}, {"beam", beam}});
  return {r[0], r[1], r[2], r[3], r[4]};
}

BeamRows beam_rows(Builder& b, Value state, Value rows, Value positions, Value entries) {
  const Values r = b.add_all("beam_rows", {state, rows, positions, entries});
  return {r[0], r[1]};
}

void define_beam(OpTable& table) {
  OpDef candidates;
  candidates.name = "beam_candidates";
  candidates.summary =
      "logits [B*K, V], scores [B*K] -> values, tokens, parents, log_probs [B, C]: best continuations";
  candidates.min_inputs = candidates.max_inputs = 2;
  candidates.differentiable = false;
  candidates.infer = infer_candidates;
  candidates.evaluate = evaluate_candidates;
  table.add(std::move(candidates));

  OpDef advance;
  advance.name = "beam_advance";
  advance.summary = "candidates, ends [B, E], phase [B] -> rows, tokens, scores [B*K], picks, ended [B, K]";
  advance.min_inputs = advance.max_inputs = 5;
  advance.differentiable = false;
  advance.infer = infer_advance;
  advance.evaluate = evaluate_advance;
  table.add(std::move(advance));

  OpDef rows;
  rows.name = "beam_rows";
  rows.summary =
      "state [M, P], rows, positions, entries [R] -> state, its first R lines as the step needs them";
  rows.min_inputs = rows.max_inputs = 4;
  rows.differentiable = false;
  rows.in_place = {{0, 0}};
  rows.infer = infer_rows;
  rows.evaluate = evaluate_rows;
  table.add(std::move(rows));
}

}  // namespace floe

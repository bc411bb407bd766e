// sample: types and values in double. search.h gives the meaning.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/search/definitions.h"
#include "ops/search/search.h"
#include "tensor/philox.h"

namespace floe {
namespace {

enum Input { kLogits, kScores, kTemperature, kTopK, kTopP, kSeeds, kOrdinals, kDraws, kPositions };
constexpr const char* kNames[] = {"logits", "scores",   "temperature", "top_k",    "top_p",
                                  "seeds",  "ordinals", "draws",       "positions"};

std::vector<Type> infer(const InferArgs& args) {
  args.require_float(kLogits);
  args.require_rank(kLogits, 2);
  const Dim rows = args.inputs[kLogits].dim(0);
  for (const int i : {kScores, kTemperature, kTopP}) {
    args.require_float(i);
    args.require_rank(i, 1);
  }
  for (const int i : {kTopK, kSeeds, kOrdinals, kDraws, kPositions}) require_i32(args, i, 1, kNames[i]);
  for (int i = kScores; i <= kPositions; ++i) require_dim(args, i, 0, rows, kNames[i]);
  const Dims dims{rows, Dim(1)};
  const DType type = args.inputs[kLogits].dtype;
  return {{type, dims}, {DType::i32, dims}, {DType::i32, dims}, {type, dims}};
}

std::vector<RefTensor> evaluate_sample(const EvalArgs& args) {
  const RefTensor& logits = args.inputs[kLogits];
  const int64_t vocabulary = logits.shape[1];
  RefTensor values(logits.dtype, args.shapes[0]), tokens(DType::i32, args.shapes[0]),
      parents(DType::i32, args.shapes[0]), log_probs(logits.dtype, args.shapes[0]);
  const double none = -std::numeric_limits<double>::infinity();
  for (int64_t row = 0; row < logits.shape[0]; ++row) {
    const auto r = static_cast<size_t>(row);
    const double* x = logits.f.data() + row * vocabulary;
    const double score = args.inputs[kScores].f[r];
    std::vector<int64_t> order;  // most probable first
    bool nan = std::isnan(score);
    for (int64_t id = 0; id < vocabulary; ++id) {
      nan = nan || std::isnan(x[id]) || x[id] == -none;
      if (x[id] != none) order.push_back(id);
    }
    values.f[r] = nan ? std::numeric_limits<double>::quiet_NaN() : none;
    log_probs.f[r] = none;
    tokens.i[r] = parents.i[r] = -1;
    if (nan || order.empty() || score == none) continue;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return x[a] > x[b]; });

    const double temperature = args.inputs[kTemperature].f[r];
    const int64_t top_k = args.inputs[kTopK].i[r];
    size_t kept = temperature > 0 ? order.size() : 1;
    if (top_k > 0) kept = std::min(kept, static_cast<size_t>(top_k));
    const auto weight = [&](int64_t id) {
      return temperature > 0 ? std::exp((x[id] - x[order[0]]) / temperature) : 1;
    };
    const double top_p = args.inputs[kTopP].f[r];
    double total = 0;
    for (size_t j = 0; j < kept; ++j) total += weight(order[j]);
    double mass = 0;
    for (size_t j = 0; j < kept && top_p < 1; ++j) {
      mass += weight(order[j]);
      if (mass >= top_p * total) kept = j + 1;
    }
    std::vector<int64_t> ids(order.begin(), order.begin() + static_cast<int64_t>(kept));
    std::sort(ids.begin(), ids.end());
    const PhiloxCoordinates at{0, static_cast<uint32_t>(args.inputs[kPositions].i[r]),
                               static_cast<uint32_t>(args.inputs[kOrdinals].i[r]),
                               static_cast<uint32_t>(args.inputs[kDraws].i[r])};
    const double uniform =
        philox_uniform(philox_bits(static_cast<uint32_t>(args.inputs[kSeeds].i[r]),
                                   static_cast<uint32_t>(args.attrs.integer("op_id")), at));
    double goal = 0;
    for (const int64_t id : ids) goal += weight(id);
    goal *= uniform;
    size_t chosen = 0;
    double sum = weight(ids[0]);
    while (chosen + 1 < kept && sum <= goal) sum += weight(ids[++chosen]);

    double exps = 0;
    for (const int64_t id : order) exps += std::exp(x[id] - x[order[0]]);
    log_probs.f[r] = x[ids[chosen]] - x[order[0]] - std::log(exps);
    values.f[r] = score + log_probs.f[r];
    tokens.i[r] = ids[chosen];
    parents.i[r] = 0;
  }
  return {values, tokens, parents, log_probs};
}

}  // namespace

Candidates sample(Builder& b, const SampleArgs& args) {
  const Values r = b.add_all("sample",
                             {args.logits, args.scores, args.temperature, args.top_k, args.top_p, args.seeds,
                              args.ordinals, args.draws, args.positions},
                             {{"op_id", args.op_id}});
  return {r[0], r[1], r[2], r[3]};
}

void define_sample(OpTable& table) {
  OpDef op;
  op.name = "sample";
  op.summary = "logits [R, V] and options a row -> values, tokens, parents, log_probs [R, 1]: one draw a row";
  op.min_inputs = op.max_inputs = 9;
  op.differentiable = false;
  op.infer = infer;
  op.evaluate = evaluate_sample;
  table.add(std::move(op));
}

}  // namespace floe

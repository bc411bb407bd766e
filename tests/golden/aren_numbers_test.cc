// 500 made-up words against the numbers of CTranslate2 4.8 (tools/dump_ct2.py), through the real kernels.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "compile/compile.h"
#include "golden/aren.h"
#include "ir/evaluate.h"
#include "nn/transformer.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "testing/op_case.h"
#include "text/lines.h"
#include "translate/engine.h"
#include "translate/scorer.h"

namespace floe {
namespace {

using Ids = std::vector<int32_t>;
using Rows = std::vector<std::vector<double>>;  // [steps][target ids]

// Absolute near 0, relative far from it: a log-probability is a difference of f32 logits, so its error grows
// with its size. At their worst Floe lies 1.4e-5 from the exact value, the reference 2.0e-5.
constexpr double kTolerance = 1e-5;
double tolerance(double reference) { return kTolerance + kTolerance * std::abs(reference); }

struct Scored {
  Ids tokens;
  std::vector<double> log_probs;  // of the tokens, then of the end token
};
struct Ranked {
  Ids tokens;
  double score = 0;
};
struct Reference {
  int64_t max_length = 0;
  std::vector<Ids> words;
  std::vector<Scored> greedy, int8_greedy;
  std::map<int64_t, std::vector<std::vector<Ranked>>> beams;
  std::vector<Rows> vectors;
};

std::vector<Scored> scored_of(const nlohmann::json& list) {
  std::vector<Scored> out;
  for (const auto& each : list) out.push_back({each[0].get<Ids>(), each[1].get<std::vector<double>>()});
  return out;
}

const Reference& reference() {
  static const Reference once = [] {
    const auto json = nlohmann::json::parse(read_file(FLOE_SOURCE_DIR "/tests/golden/ct2_aren.json"));
    Reference r;
    r.max_length = json["max_length"];
    r.words = json["words"].get<std::vector<Ids>>();
    r.greedy = scored_of(json["greedy"]);
    r.int8_greedy = scored_of(json["int8_greedy"]);
    r.vectors = json["vectors"].get<std::vector<Rows>>();
    for (const auto& [beam, words] : json["beams"].items()) {
      for (const auto& word : words) {
        auto& list = r.beams[std::stoll(beam)].emplace_back();
        for (const auto& each : word) list.push_back({each[0].get<Ids>(), each[1].get<double>()});
      }
    }
    return r;
  }();
  return once;
}

std::vector<SequenceRow> rows_of(const std::vector<Ids>& words) {
  std::vector<SequenceRow> rows;
  for (const Ids& word : words) rows.push_back({.source = word, .ordinal = rows.size()});
  return rows;
}

SearchOptions search_of(int64_t beam, int64_t n_best, const ModelConfig& config) {
  SearchOptions search;
  search.beam = beam;
  search.n_best = n_best;
  search.max_length = reference().max_length;
  search.max_length_ratio = 0;
  search.ends = {config.eos_id};
  return search;
}

// Each word with its target as one row of the scoring graph's inputs.
struct ScoringFeeds {
  Tensor source, lengths, in, out;
};
ScoringFeeds feeds_of(std::span<const Ids> words, std::span<const Scored> targets, int32_t start) {
  size_t sources = 0, steps = 0;
  for (const Ids& word : words) sources = std::max(sources, word.size());
  for (const Scored& target : targets) steps = std::max(steps, target.tokens.size() + 1);
  const auto n = static_cast<int64_t>(words.size()), width = static_cast<int64_t>(sources),
             height = static_cast<int64_t>(steps);
  ScoringFeeds feeds{Tensor(DType::i32, {n, width}), Tensor(DType::i32, {n}), Tensor(DType::i32, {n, height}),
                     Tensor(DType::i32, {n, height})};
  for (size_t k = 0; k < words.size(); ++k) {
    std::copy(words[k].begin(), words[k].end(), feeds.source.as<int32_t>() + k * sources);
    feeds.lengths.as<int32_t>()[k] = static_cast<int32_t>(words[k].size());
    const Ids& target = targets[k].tokens;
    feeds.in.as<int32_t>()[k * steps] = start;
    std::copy(target.begin(), target.end(), feeds.in.as<int32_t>() + k * steps + 1);
    std::copy(target.begin(), target.end(), feeds.out.as<int32_t>() + k * steps);
  }
  return feeds;
}

template <class T>
std::vector<Rows> rows_by_word(const T* all, size_t steps, size_t vocabulary,
                               std::span<const Scored> targets) {
  std::vector<Rows> result(targets.size());
  for (size_t k = 0; k < targets.size(); ++k) {
    for (size_t t = 0; t <= targets[k].tokens.size(); ++t) {
      const T* row = all + (k * steps + t) * vocabulary;
      result[k].emplace_back(row, row + vocabulary);
    }
  }
  return result;
}

// [words][steps][target ids], by the kernels.
std::vector<Rows> log_probs_of(ModelFile model, Device& device, std::span<const Ids> words,
                               std::span<const Scored> targets) {
  State state(&device);
  for (auto& [name, tensor] : model.weights) state.set(name, std::move(tensor));
  Session session(test_compile({scoring_graph(model.config, {.all_log_probs = true})}), test_kernels(),
                  device, state);
  const ScoringFeeds feeds = feeds_of(words, targets, model.config.start_id);
  session.run("scoring", std::vector<Feed>{{"source", view_of(feeds.source)},
                                           {"source_lengths", view_of(feeds.lengths)},
                                           {"target_in", view_of(feeds.in)},
                                           {"target_out", view_of(feeds.out)}});
  const View all = session.output("log_probs");
  return rows_by_word(all.as<const float>(), static_cast<size_t>(all.dim(1)), static_cast<size_t>(all.dim(2)),
                      targets);
}

// The same in double.
std::vector<Rows> exact_log_probs(const ModelFile& model, std::span<const Ids> words,
                                  std::span<const Scored> targets) {
  RefMap states;
  for (const auto& [name, tensor] : model.weights) states[name] = ref_of(tensor);
  const ScoringFeeds feeds = feeds_of(words, targets, model.config.start_id);
  const RefMap inputs{{"source", ref_of(feeds.source)},
                      {"source_lengths", ref_of(feeds.lengths)},
                      {"target_in", ref_of(feeds.in)},
                      {"target_out", ref_of(feeds.out)}};
  const RefTensor all =
      evaluate(scoring_graph(model.config, {.all_log_probs = true}), inputs, states).outputs.at("log_probs");
  return rows_by_word(all.f.data(), static_cast<size_t>(all.shape[1]), static_cast<size_t>(all.shape[2]),
                      targets);
}

void expect_scores(const std::vector<Rows>& got, std::span<const Scored> want, int32_t end) {
  for (size_t k = 0; k < want.size(); ++k) {
    Ids out = want[k].tokens;
    out.push_back(end);
    ASSERT_EQ(want[k].log_probs.size(), out.size());
    for (size_t t = 0; t < out.size(); ++t) {
      const double log_prob = want[k].log_probs[t];
      EXPECT_NEAR(got[k][t][static_cast<size_t>(out[t])], log_prob, tolerance(log_prob))
          << "word " << k << ", step " << t;
    }
  }
}

class ArenNumbers : public ArenTest {};

TEST_F(ArenNumbers, ScoreVectorsAreAsNearTheExactOnesAsTheReferences) {
  const Reference& want = reference();
  const size_t n = want.vectors.size();
  ASSERT_EQ(n, 50u);
  const auto words = std::span(want.words).first(n);
  const auto targets = std::span(want.greedy).first(n);
  const auto got = log_probs_of(load_model(aren_folder()), *device_, words, targets);
  const auto exact = exact_log_probs(load_model(aren_folder()), words, targets);
  // The reference's vectors end where the end token came first, which may be at once.
  const auto steps = [&](size_t k) { return std::min(want.vectors[k].size(), got[k].size()); };
  double worst = 0, reference_worst = 0;  // distances from the exact value
  size_t compared = 0;
  for (size_t k = 0; k < n; ++k) {
    for (size_t t = 0; t < steps(k); ++t) {
      ASSERT_EQ(got[k][t].size(), want.vectors[k][t].size());
      for (size_t id = 0; id < got[k][t].size(); ++id, ++compared) {
        const double peer = want.vectors[k][t][id];
        EXPECT_NEAR(got[k][t][id], peer, tolerance(peer)) << "word " << k << ", step " << t << ", id " << id;
        worst = std::max(worst, std::abs(got[k][t][id] - exact[k][t][id]));
        reference_worst = std::max(reference_worst, std::abs(peer - exact[k][t][id]));
      }
    }
  }
  EXPECT_LE(worst, reference_worst);
  EXPECT_LT(reference_worst, 1e-4);  // both compute the same function
  EXPECT_GT(compared, 43u * 300);
}

TEST_F(ArenNumbers, ScoresOfGivenTokensAreTheReferences) {
  const Reference& want = reference();
  ASSERT_EQ(want.words.size(), 500u);
  ModelFile model = load_model(aren_folder());
  const int32_t end = model.config.eos_id;
  expect_scores(log_probs_of(std::move(model), *device_, want.words, want.greedy), want.greedy, end);
}

TEST_F(ArenNumbers, Int8WeightsGiveTheReferencesScoresAndStrings) {
  if (!has_aren("-i8")) GTEST_SKIP() << aren_folder("-i8") << "/model.bin is absent";
  const Reference& want = reference();
  const int32_t end = load_model(aren_folder("-i8")).config.eos_id;
  expect_scores(log_probs_of(load_model(aren_folder("-i8")), *device_, want.words, want.int8_greedy),
                want.int8_greedy, end);
  ModelSession session(load_model(aren_folder("-i8")), *device_);
  const auto got = session.engine().decode(rows_of(want.words), search_of(1, 1, session.config()), {});
  for (size_t k = 0; k < got.size(); ++k) EXPECT_EQ(got[k][0].tokens, want.int8_greedy[k].tokens) << k;
}

TEST_F(ArenNumbers, GreedySearchGivesTheReferencesTokensAndScores) {
  const Reference& want = reference();
  SearchOptions search = search_of(1, 1, session().config());
  const auto rows = rows_of(want.words);
  const auto got = session().engine().decode(rows, search, {});
  search.min_length = 0;  // else the first step shares out the end token's probability
  const auto free = session().engine().decode(rows, search, {});
  size_t empty = 0;
  for (size_t k = 0; k < got.size(); ++k) {
    EXPECT_EQ(got[k][0].tokens, want.greedy[k].tokens) << k;
    const Hypothesis& h = free[k][0];
    if (h.tokens.empty()) {
      ++empty;
      continue;
    }
    EXPECT_EQ(h.tokens, want.greedy[k].tokens) << k;
    ASSERT_EQ(h.token_log_probs.size(), h.tokens.size() + (h.ended ? 1 : 0));
    for (size_t t = 0; t < h.token_log_probs.size(); ++t) {
      const double log_prob = want.greedy[k].log_probs[t];
      EXPECT_NEAR(h.token_log_probs[t], log_prob, tolerance(log_prob)) << k << " " << t;
    }
  }
  EXPECT_LT(empty, 10u);
}

TEST_F(ArenNumbers, BeamsGiveTheReferencesListsAndScores) {
  const Reference& want = reference();
  for (const auto& [beam, words] : want.beams) {
    const auto n_best = static_cast<int64_t>(words[0].size());
    const auto got =
        session().engine().decode(rows_of(want.words), search_of(beam, n_best, session().config()), {});
    for (size_t k = 0; k < words.size(); ++k) {
      ASSERT_EQ(got[k].size(), words[k].size()) << "beam " << beam << ", word " << k;
      for (size_t i = 0; i < words[k].size(); ++i) {
        EXPECT_EQ(got[k][i].tokens, words[k][i].tokens) << "beam " << beam << ", word " << k << ", " << i;
        EXPECT_NEAR(got[k][i].score, words[k][i].score, tolerance(words[k][i].score))
            << "beam " << beam << ", word " << k;
      }
    }
  }
}

TEST_F(ArenNumbers, WithoutCacheTheOutputIsTheSame) {
  ModelSession plain(load_model(aren_folder()), *device_, {.kv_cache = false});
  const auto rows = rows_of(reference().words);
  for (const int64_t beam : {1, 4}) {
    const SearchOptions search = search_of(beam, beam, plain.config());
    const auto a = session().engine().decode(rows, search, {}), b = plain.engine().decode(rows, search, {});
    for (size_t k = 0; k < rows.size(); ++k) {
      ASSERT_EQ(a[k].size(), b[k].size()) << k;
      for (size_t i = 0; i < a[k].size(); ++i) {
        EXPECT_EQ(a[k][i].tokens, b[k][i].tokens) << "beam " << beam << ", word " << k << ", " << i;
        EXPECT_NEAR(a[k][i].score, b[k][i].score, kTolerance);
      }
    }
  }
}

TEST_F(ArenNumbers, TheScorerSumsTheReferencesLogProbabilities) {
  const Reference& want = reference();
  ModelFile model = load_model(aren_folder());
  const ModelText text = model.text;
  std::vector<std::string> sources, targets;
  for (size_t k = 0; k < want.words.size(); ++k) {
    sources.push_back(text.source.decode(want.words[k]));
    targets.push_back(text.target.decode(want.greedy[k].tokens));
  }
  sources.emplace_back();
  targets.emplace_back();
  const auto got = Scorer(std::move(model), {}, *device_, warn).score(sources, targets);
  size_t without_ink = 0;  // words of a zero-width joiner alone
  for (size_t k = 0; k < want.words.size(); ++k) {
    const auto& log_probs = want.greedy[k].log_probs;
    if (is_blank(sources[k])) {
      ++without_ink;
      EXPECT_EQ(got[k].tokens, 0);
      continue;
    }
    double sum = 0;
    for (const double each : log_probs) sum += each;
    EXPECT_EQ(got[k].tokens, static_cast<int64_t>(log_probs.size())) << targets[k];
    EXPECT_NEAR(got[k].log_probability, sum, kTolerance * static_cast<double>(log_probs.size()));
  }
  EXPECT_LT(without_ink, 5u);
  EXPECT_EQ(got.back().tokens, 0);
  EXPECT_EQ(got.back().log_probability, 0);
}

}  // namespace
}  // namespace floe

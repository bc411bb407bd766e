#include "translate/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "compile/compile.h"
#include "nn/transformer.h"
#include "nn/weights.h"
#include "runtime/state.h"
#include "testing/op_case.h"

namespace floe {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<int32_t>;

constexpr int32_t kEnd = 2;

ModelConfig small_model(int64_t vocabulary = 13) {
  ModelConfig c;
  c.d_model = 16;
  c.encoder_layers = 1;
  c.decoder_layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.d_ff = 24;
  c.source_vocabulary = 17;
  c.target_vocabulary = vocabulary;
  c.norm_placement = NormPlacement::pre;
  c.max_positions = 48;
  c.tied = Tied::none;
  c.output_bias = true;
  c.residual_dropout = 0;
  return c;
}

// Weights spread more than a fresh model's, so that it has opinions.
void set_weights(const ModelConfig& config, State& state, Precision precision = Precision::f32) {
  Weights weights = initial_weights(config, 5);
  add_made_weights(config, &weights);
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const WeightSpec& spec : weight_table(config)) {
    Tensor& weight = weights.at(spec.name);
    if (spec.trainable) {
      for (int64_t i = 0; i < weight.size(); ++i) weight.as<float>()[i] += 0.25f * normal(random);
    }
  }
  for (auto& [name, weight] : weights_for(precision, config, std::move(weights)))
    state.set(name, std::move(weight));
}

struct Fixture {
  ModelConfig config;
  std::unique_ptr<Device> device;
  State state;
  DecodeEngine engine;
  explicit Fixture(const DecodeEngineOptions& options = {}, const ModelConfig& c = small_model(),
                   int threads = 2)
      : config(c),
        device(open_test_device(threads)),
        state(device.get()),
        engine(weighted(options.precision), state, test_kernels(), *device, options) {}

  std::vector<std::vector<Hypothesis>> decode(const std::vector<SequenceRow>& rows,
                                              const SearchOptions& search,
                                              const AttentionRequest& attention = {}) {
    return engine.decode(rows, search, attention);
  }

 private:
  const ModelConfig& weighted(Precision precision) {
    set_weights(config, state, precision);
    return config;
  }
};

std::vector<SequenceRow> sentences(size_t n) {
  std::mt19937 random(3);
  std::vector<SequenceRow> rows(n);
  for (size_t i = 0; i < n; ++i) {
    rows[i].source.resize(1 + (i * 7) % 20);
    for (int32_t& id : rows[i].source) id = static_cast<int32_t>(3 + random() % 14);
    rows[i].ordinal = i;
  }
  return rows;
}

SearchOptions with_beam(int64_t beam, int64_t n_best = 1) {
  SearchOptions options;
  options.beam = beam;
  options.n_best = n_best;
  options.ends = {kEnd};
  options.max_length = 20;
  return options;
}

void expect_same(const std::vector<Hypothesis>& a, const std::vector<Hypothesis>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tokens, b[i].tokens) << what;
    EXPECT_EQ(a[i].log_prob, b[i].log_prob) << what;  // the same bits
    EXPECT_EQ(a[i].token_log_probs, b[i].token_log_probs) << what;
    EXPECT_EQ(a[i].ended, b[i].ended) << what;
  }
}

// log_probs of every token of each target, by the scoring graph: [targets][T][V].
std::vector<std::vector<double>> score_all(Fixture& f, const Tokens& source,
                                           const std::vector<Tokens>& targets) {
  Session session(test_compile({scoring_graph(f.config, {.all_log_probs = true})}), test_kernels(), *f.device,
                  f.state);
  const auto n = static_cast<int64_t>(targets.size());
  int64_t longest = 0;
  for (const Tokens& t : targets) longest = std::max(longest, static_cast<int64_t>(t.size()));
  const auto width = static_cast<int64_t>(source.size());
  Tensor src(DType::i32, {n, width}), lengths(DType::i32, {n}), in(DType::i32, {n, longest + 1}),
      out(DType::i32, {n, longest + 1});
  for (int64_t k = 0; k < n; ++k) {
    std::copy(source.begin(), source.end(), src.as<int32_t>() + k * width);
    lengths.as<int32_t>()[k] = static_cast<int32_t>(width);
    in.as<int32_t>()[k * (longest + 1)] = f.config.start_id;
    const Tokens& t = targets[static_cast<size_t>(k)];
    std::copy(t.begin(), t.end(), in.as<int32_t>() + k * (longest + 1) + 1);
  }
  session.run("scoring", std::vector<Feed>{{"source", view_of(src)},
                                           {"source_lengths", view_of(lengths)},
                                           {"target_in", view_of(in)},
                                           {"target_out", view_of(out)}});
  const View all = session.output("log_probs");
  std::vector<std::vector<double>> result;
  const int64_t each = all.dim(1) * all.dim(2);
  for (int64_t k = 0; k < n; ++k)
    result.emplace_back(all.as<float>() + k * each, all.as<float>() + (k + 1) * each);
  return result;
}

TEST(DecodeEngine, AFullBeamFindsTheBestOfAllSequences) {
  Fixture f({}, small_model(6));
  constexpr int64_t kLength = 3;
  constexpr size_t kVocabulary = 6;
  SearchOptions options = with_beam(40, 10);
  options.max_length = kLength;
  options.patience = 5;  // nothing stops it before the limit
  for (const SequenceRow& row : sentences(4)) {
    std::vector<Tokens> prefixes{{}};
    for (size_t i = 0; i < prefixes.size(); ++i) {
      const Tokens prefix = prefixes[i];
      for (int32_t id = 0; id < 6 && prefix.size() < kLength - 1; ++id) {
        if (id == kEnd) continue;
        Tokens longer = prefix;
        longer.push_back(id);
        prefixes.push_back(longer);
      }
    }
    const auto log_probs = score_all(f, row.source, prefixes);
    std::vector<std::pair<double, Tokens>> all;
    for (size_t i = 0; i < prefixes.size(); ++i) {
      // An end at the very start is forbidden, and the rest of that step shares its probability.
      double sum = 0;
      const auto at = [&](size_t t, size_t id) {
        double freed = 0;
        if (t == 0) freed = std::log1p(-std::exp(log_probs[i][kEnd]));
        return log_probs[i][t * kVocabulary + id] - freed;
      };
      const size_t n = prefixes[i].size();
      for (size_t t = 0; t < n; ++t) sum += at(t, static_cast<size_t>(prefixes[i][t]));
      if (n > 0) all.emplace_back((sum + at(n, kEnd)) / static_cast<double>(n + 1), prefixes[i]);
      if (n + 1 < kLength) continue;
      for (int32_t id = 0; id < 6; ++id) {
        if (id == kEnd) continue;
        Tokens whole = prefixes[i];
        whole.push_back(id);
        all.emplace_back((sum + at(n, static_cast<size_t>(id))) / kLength, whole);
      }
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    const auto got = f.decode({row}, options)[0];
    ASSERT_EQ(got.size(), 10u);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].tokens, all[i].second) << i;
      EXPECT_NEAR(got[i].score, all[i].first, 1e-4) << i;
    }
  }
}

TEST(DecodeEngine, ASentencesBitsDoNotDependOnItsBatch) {
  for (const int64_t beam : {1, 3}) {
    const SearchOptions options = with_beam(beam, beam);
    const std::vector<SequenceRow> rows = sentences(8);
    Fixture f;
    const auto together = f.decode(rows, options);
    size_t shortest = 99, longest = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      expect_same(f.decode({rows[i]}, options)[0], together[i],
                  fmt::format("beam {}, row {} alone", beam, i));
      shortest = std::min(shortest, together[i][0].tokens.size());
      longest = std::max(longest, together[i][0].tokens.size());
    }
    EXPECT_LT(shortest, longest) << "no sentence left before another: the model is too plain for this test";
    const auto three = f.decode({rows[5], rows[0], rows[7]}, options);
    expect_same(three[0], together[5], "among three");
    expect_same(three[1], together[0], "among three");
    expect_same(three[2], together[7], "among three");
    std::vector<SequenceRow> backwards(rows.rbegin(), rows.rend());
    const auto reversed = f.decode(backwards, options);
    for (size_t i = 0; i < rows.size(); ++i)
      expect_same(reversed[i], together[rows.size() - 1 - i], "backwards");
  }
}

// On whatever device the tests run, in every type of weights that it takes.
TEST(DecodeEngine, ASentenceIsTheSameAmongOneEightSixtyFourAndAThousand) {
  std::vector<Precision> precisions = {Precision::f32};
  if (test_device_kind() == DeviceKind::cuda) precisions.push_back(Precision::bf16);
  const std::vector<SequenceRow> rows = sentences(1024);
  for (const Precision precision : precisions) {
    Fixture f({.max_rows = 1024, .precision = precision});
    const auto all = f.decode(rows, with_beam(1));
    for (const auto& [begin, count] : {std::pair<size_t, size_t>{1023, 1}, {500, 8}, {77, 64}}) {
      const std::vector<SequenceRow> some(rows.begin() + static_cast<int64_t>(begin),
                                          rows.begin() + static_cast<int64_t>(begin + count));
      const auto few = f.decode(some, with_beam(1));
      for (size_t i = 0; i < count; ++i)
        expect_same(few[i], all[begin + i], fmt::format("row {} among {}", begin + i, count));
    }
  }
}

// What passes join for a device computes what its parts compute, bit for bit.
TEST(DecodeEngine, JoinedKernelsChangeNoBit) {
  std::vector<Precision> precisions = {Precision::f32};
  if (test_device_kind() == DeviceKind::cuda) precisions.push_back(Precision::bf16);
  for (const Precision precision : precisions) {
    Fixture joined({.precision = precision});
    Fixture apart({.precision = precision, .compile = [](const std::vector<Graph>& graphs) {
                     return test_compile(graphs,
                                         {.skip = {"append_attention", "embedding_sums", "search_steps"},
                                          .row_invariant = true});
                   }});
    std::vector<SequenceRow> rows = sentences(9);
    rows[2].prefix = {5, 6};
    for (const int64_t beam : {1, 3}) {
      SearchOptions plain = with_beam(beam, beam), penalized = plain;
      penalized.repetition_penalty = 1.5;
      penalized.no_repeat_ngram = 2;
      penalized.min_length = 4;
      penalized.suppressed = {4, 7};
      for (const SearchOptions& options : {plain, penalized}) {
        const auto a = joined.decode(rows, options), b = apart.decode(rows, options);
        for (size_t i = 0; i < rows.size(); ++i) expect_same(a[i], b[i], fmt::format("row {}", i));
      }
    }
  }
}

TEST(DecodeEngine, NeitherRoomNorThreadsChangeTheResult) {
  const SearchOptions options = with_beam(3, 2);
  const std::vector<SequenceRow> rows = sentences(11);
  const auto want = Fixture().decode(rows, options);
  // Two or three sentences at a time: others enter while some are half way.
  Fixture few({.max_rows = 9, .cache_positions = 190, .source_positions = 100}, small_model(), 1);
  const auto got = few.decode(rows, options);
  for (size_t i = 0; i < rows.size(); ++i) expect_same(got[i], want[i], fmt::format("row {}", i));
  few.engine.trim();
  expect_same(few.decode({rows[4]}, options)[0], want[4], "after trim");
}

TEST(DecodeEngine, TheCacheChangesNothing) {
  Fixture cached, uncached({.cached = false});
  for (const int64_t beam : {1, 4}) {
    const SearchOptions options = with_beam(beam, beam);
    const std::vector<SequenceRow> rows = sentences(5);
    const auto a = cached.decode(rows, options), b = uncached.decode(rows, options);
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(a[i].size(), b[i].size());
      for (size_t k = 0; k < a[i].size(); ++k) {
        EXPECT_EQ(a[i][k].tokens, b[i][k].tokens) << "row " << i << ", hypothesis " << k;
        EXPECT_NEAR(a[i][k].log_prob, b[i][k].log_prob, 1e-4);
      }
    }
  }
}

TEST(DecodeEngine, LogProbsAreTheScoringGraphs) {
  Fixture f;
  SearchOptions options = with_beam(4, 4);
  options.min_length = 0;  // else the first step leaves the end token out of the sum
  const std::vector<SequenceRow> rows = sentences(3);
  const auto results = f.decode(rows, options);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const Hypothesis& h : results[i]) {
      const auto all = score_all(f, rows[i].source, {h.tokens})[0];
      Tokens out = h.tokens;
      if (h.ended) out.push_back(kEnd);
      ASSERT_EQ(h.token_log_probs.size(), out.size());
      double sum = 0;
      for (size_t t = 0; t < out.size(); ++t) {
        EXPECT_NEAR(h.token_log_probs[t], all[t * 13 + static_cast<size_t>(out[t])], 1e-4);
        sum += all[t * 13 + static_cast<size_t>(out[t])];
      }
      EXPECT_NEAR(h.log_prob, sum, 1e-4 * static_cast<double>(out.size()));
    }
  }
}

TEST(DecodeEngine, SamplesDependOnSeedAndSentenceAlone) {
  SearchOptions options = with_beam(4, 6);
  options.sampling = true;
  options.sample.temperature = 1.2;
  options.sample.seed = 99;
  const std::vector<SequenceRow> rows = sentences(7);
  Fixture f;
  const auto want = f.decode(rows, options);
  const std::vector<SequenceRow> backwards(rows.rbegin(), rows.rend());
  const auto reversed = f.decode(backwards, options);
  for (size_t i = 0; i < rows.size(); ++i) {
    expect_same(f.decode({rows[i]}, options)[0], want[i], "alone");
    expect_same(reversed[rows.size() - 1 - i], want[i], "backwards");
    EXPECT_GT(want[i].size(), 1u) << "six draws were one and the same";
  }
  options.sample.seed = 100;
  EXPECT_NE(f.decode(rows, options)[6][0].tokens, want[6][0].tokens);
}

// Line n and line n + 65,536 of a file have ordinals that differ by 2^32.
TEST(DecodeEngine, NoTwoLinesOfAFileShareTheirDraws) {
  SearchOptions options = with_beam(4, 8);
  options.sampling = true;
  options.sample.temperature = 1.2;
  options.sample.seed = 99;
  std::vector<SequenceRow> rows(3, sentences(7)[6]);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].ordinal = (uint64_t{65536} * i + 1) << 16;
  Fixture f;
  const auto got = f.decode(rows, options);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_NE(got[i][0].tokens, got[(i + 1) % rows.size()][0].tokens) << i;
}

TEST(DecodeEngine, SamplingAtTemperatureZeroIsGreedy) {
  SearchOptions options = with_beam(1);
  const std::vector<SequenceRow> rows = sentences(4);
  Fixture f;
  const auto greedy = f.decode(rows, options);
  options.sampling = true;
  options.n_best = 3;
  options.sample.temperature = 0;
  const auto sampled = f.decode(rows, options);
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(sampled[i].size(), 1u);  // three equal draws
    EXPECT_EQ(sampled[i][0].tokens, greedy[i][0].tokens);
  }
}

TEST(DecodeEngine, APrefixOfOneSentenceLeavesTheOthersAlone) {
  Fixture f;
  const SearchOptions options = with_beam(3, 3);
  std::vector<SequenceRow> rows = sentences(4);
  const auto want = f.decode(rows, options);
  rows[1].prefix = {7, 5, 9};
  rows[3].prefix = {4};
  const auto got = f.decode(rows, options);
  expect_same(got[0], want[0], "row 0");
  expect_same(got[2], want[2], "row 2");
  for (const Hypothesis& h : got[1]) {
    EXPECT_EQ(Tokens(h.tokens.begin(), h.tokens.begin() + 3), rows[1].prefix);
  }
  for (const Hypothesis& h : got[3]) EXPECT_EQ(h.tokens[0], 4);
  // What is forced along the way is found again when it is given.
  rows[0].prefix = Tokens(want[0][0].tokens.begin(), want[0][0].tokens.begin() + 1);
  EXPECT_EQ(f.decode({rows[0]}, with_beam(1))[0][0].tokens[0], want[0][0].tokens[0]);
}

TEST(DecodeEngine, LengthsAndPenaltiesHold) {
  Fixture f;
  const std::vector<SequenceRow> rows = sentences(5);
  for (const int64_t beam : {1, 4}) {
    SearchOptions options = with_beam(beam);
    options.min_length = 8;
    for (const auto& list : f.decode(rows, options)) EXPECT_GE(list[0].tokens.size(), 8u);
    options.no_repeat_ngram = 1;
    options.suppressed = {5, 6};
    for (const auto& list : f.decode(rows, options)) {
      Tokens tokens = list[0].tokens;
      std::sort(tokens.begin(), tokens.end());
      EXPECT_EQ(std::adjacent_find(tokens.begin(), tokens.end()), tokens.end());
      for (const int32_t id : options.suppressed) EXPECT_EQ(std::count(tokens.begin(), tokens.end(), id), 0);
    }
    options = with_beam(beam);
    options.max_length = 2;
    options.suppressed = {kEnd};
    for (const auto& list : f.decode(rows, options)) EXPECT_EQ(list[0].tokens.size(), 2u);
  }
}

TEST(DecodeEngine, AlternativesDifferAtTheirPosition) {
  Fixture f;
  SearchOptions options = with_beam(2, 5);
  options.alternatives = true;
  std::vector<SequenceRow> rows = sentences(3);
  rows[0].prefix = {7, 4};
  const auto got = f.decode(rows, options);
  const auto alone = f.decode({rows[0]}, options);
  expect_same(alone[0], got[0], "alone");
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t at = rows[i].prefix.size();
    ASSERT_EQ(got[i].size(), 5u);
    for (size_t k = 0; k < 5; ++k) {
      EXPECT_EQ(Tokens(got[i][k].tokens.begin(), got[i][k].tokens.begin() + static_cast<int64_t>(at)),
                rows[i].prefix);
      EXPECT_NE(got[i][k].tokens[at], kEnd);
      double sum = 0;
      for (const float each : got[i][k].token_log_probs) sum += each;
      EXPECT_NEAR(sum, got[i][k].log_prob, 1e-4);
      for (size_t other = 0; other < k; ++other) EXPECT_NE(got[i][k].tokens[at], got[i][other].tokens[at]);
      if (k > 0) {
        EXPECT_LE(got[i][k].token_log_probs[at], got[i][k - 1].token_log_probs[at]);
      }
    }
  }
  options.min_alternative_probability = std::exp(got[0][2].token_log_probs[2]) * 0.999;
  EXPECT_EQ(f.decode({rows[0]}, options)[0].size(), 3u);
}

TEST(DecodeEngine, AttentionHasARowATokenAndAColumnASourceId) {
  Fixture f;
  const std::vector<SequenceRow> rows = sentences(3);
  const auto plain = f.decode(rows, with_beam(2, 2));
  for (const int64_t layer : {-1, 0}) {
    const auto got = f.decode(rows, with_beam(2, 2), {.wanted = true, .layer = layer, .heads = {1, 3}});
    for (size_t i = 0; i < rows.size(); ++i) {
      expect_same(got[i], plain[i], "with attention");
      for (const Hypothesis& h : got[i]) {
        ASSERT_EQ(h.attention.size(), h.tokens.size());
        for (const std::vector<float>& row : h.attention) {
          ASSERT_EQ(row.size(), rows[i].source.size());
          double sum = 0;
          for (const float each : row) sum += each;
          EXPECT_NEAR(sum, 1, 1e-5);
        }
      }
    }
  }
}

TEST(DecodeEngine, DecoderOnlyModelsContinueAPrefix) {
  ModelConfig c = small_model();
  c.architecture = Architecture::decoder_only;
  c.encoder_layers = 0;
  c.source_vocabulary = 0;
  Fixture f({}, c);
  const auto got = f.decode({{.prefix = {5, 6}}, {.prefix = {9}}}, with_beam(2));
  EXPECT_EQ(got[0][0].tokens[1], 6);
  expect_same(f.decode({{.prefix = {9}}}, with_beam(2))[0], got[1], "alone");
}

TEST(DecodeEngine, FinishedSentencesGiveTheirPlacesAway) {
  for (const int64_t beam : {1, 4}) {
    Fixture f({.max_rows = 32 * beam});
    f.decode(sentences(600), with_beam(beam));
    const Occupancy steps = f.engine.occupancy();
    EXPECT_GE(static_cast<double>(steps.used), 0.9 * static_cast<double>(steps.all)) << "beam " << beam;
    EXPECT_LE(steps.used, steps.all);
  }
}

// Of about 40 roundings on the way to a logit of about 5, each of half a unit of 2^-8, a sum in one direction
// would be 0.4; they are independent, so their root mean square is 0.06.
TEST(DecodeEngineCuda, Bf16GivesTheProbabilitiesOfF32ToRounding) {
  FLOE_NEEDS_CUDA();
  Fixture exact, low({.precision = Precision::bf16});
  const auto rows = sentences(40);
  const auto want = exact.decode(rows, with_beam(1)), got = low.decode(rows, with_beam(1));
  double squares = 0;
  int64_t same = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (want[i][0].tokens.empty() || got[i][0].tokens.empty()) continue;
    if (want[i][0].tokens[0] != got[i][0].tokens[0]) continue;
    const double error = got[i][0].token_log_probs[0] - want[i][0].token_log_probs[0];
    EXPECT_LT(std::abs(error), 0.4) << i;
    squares += error * error;
    ++same;
  }
  ASSERT_GT(same, 20);
  EXPECT_LT(std::sqrt(squares / static_cast<double>(same)), 0.06);
}

TEST(DecodeEngineCuda, InBf16TheBatchChangesNoBit) {
  FLOE_NEEDS_CUDA();
  Fixture f({.max_rows = 1024, .precision = Precision::bf16});
  const auto rows = sentences(300);
  for (const int64_t beam : {1, 4}) {
    const auto all = f.decode(rows, with_beam(beam));
    for (const size_t i : {size_t{0}, size_t{7}, size_t{299}})
      expect_same(f.decode({rows[i]}, with_beam(beam))[0], all[i], "alone");
    const std::vector<SequenceRow> some(rows.begin() + 5, rows.begin() + 69);
    const auto few = f.decode(some, with_beam(beam));
    for (size_t i = 0; i < some.size(); ++i) expect_same(few[i], all[i + 5], "among 64");
  }
}

TEST(DecodeEngine, RefusesBf16OnTheCpu) {
  FLOE_NEEDS_CPU();
  try {
    Fixture f({.precision = Precision::bf16});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "precision bf16 needs device cuda");
  }
}

std::string refusal(Fixture& f, const std::vector<SequenceRow>& rows, const SearchOptions& options,
                    const AttentionRequest& attention = {}) {
  try {
    f.decode(rows, options, attention);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    return e.what();
  }
  return "";
}

TEST(DecodeEngine, RefusesWhatTheModelCannotTake) {
  Fixture f;
  const SequenceRow good{.source = {3, 4}};
  EXPECT_EQ(refusal(f, {good, {}}, with_beam(1)), "row 1: the source is empty");
  EXPECT_EQ(refusal(f, {{.source = Tokens(49, 3)}}, with_beam(1)),
            "row 0: the source has 49 ids, the model takes 48");
  EXPECT_EQ(refusal(f, {{.source = {3, 17}}}, with_beam(1)), "row 0: source id 17 is outside 0..16");
  EXPECT_EQ(refusal(f, {good, {.source = {3}, .prefix = {13}}}, with_beam(1)),
            "row 1: prefix id 13 is outside 0..12");
  SearchOptions options = with_beam(1);
  options.ends = {13};
  EXPECT_EQ(refusal(f, {good}, options), "end token 13 is outside 0..12");
  EXPECT_THAT(refusal(f, {good}, with_beam(1), {.wanted = true, .layer = 7}),
              HasSubstr("layer 7 is outside"));
  EXPECT_TRUE(f.decode({}, with_beam(2)).empty());
}

TEST(DecodeEngine, NamesTheRoomThatASentenceNeeds) {
  Fixture f({.max_rows = 4, .cache_positions = 30, .source_positions = 16});
  const SequenceRow row{.source = {3, 4}};
  EXPECT_EQ(refusal(f, {row}, with_beam(5)), "a beam of 5 needs as many rows; the engine has 4");
  try {
    f.decode({row}, with_beam(2));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::device);  // whoever batches may try with less
    EXPECT_STREQ(
        e.what(),
        "a sentence of 2 tokens with a beam of 2 and up to 16 target tokens needs 32 cache positions and "
        "1 source blocks; there are 30 and 1");
  }
  EXPECT_EQ(f.decode({row}, with_beam(1)).size(), 1u);  // and works on
}

TEST(DecodeEngine, AModelWithDamagedWeightsIsAnError) {
  Fixture f;
  change_state(f.state, "decoder.0.feed_forward.down.bias", [](Tensor& t) { t.set(3, std::nan("")); });
  EXPECT_THAT(refusal(f, {{.source = {3, 4}}}, with_beam(2)), HasSubstr("the model gave no number"));
}

TEST(DecodeEngine, TellsWhereTimeGoesOnceAsked) {
  const auto calls = [](const std::vector<StepTime>& list) {
    int64_t sum = 0;
    for (const StepTime& time : list) sum += time.calls;
    return sum;
  };
  Fixture f;
  f.decode(sentences(2), with_beam(2));
  EXPECT_EQ(calls(f.engine.profile().steps), 0);
  f.engine.set_profile(true);
  f.decode(sentences(2), with_beam(2));
  f.decode(sentences(2), with_beam(3));  // a session that is made now
  const DecodeEngine::Profile profile = f.engine.profile();
  EXPECT_GT(calls(profile.encoder), 0);
  int64_t searches = 0;
  for (const StepTime& time : profile.steps) {
    // The device decides whether a search's end is one kernel.
    if (time.op == "beam_advance" || time.op == "search_choice") searches += time.calls > 0 ? 1 : 0;
  }
  EXPECT_EQ(searches, 2);  // one line a session
}

TEST(DecodeEngine, CachesComeAndGoWithTheEngine) {
  const ModelConfig config = small_model();
  const std::unique_ptr<Device> device = open_test_device(1);
  State state(device.get());
  set_weights(config, state);
  const size_t weights = state.bytes();
  {
    DecodeEngine engine(config, state, test_kernels(), *device, {.max_rows = 8, .cache_positions = 64});
    EXPECT_EQ(state.bytes(), weights + engine.cache_bytes());
    const size_t before = state.bytes();
    engine.decode(sentences(2), with_beam(2), {});
    EXPECT_EQ(state.bytes(), before);
  }
  EXPECT_EQ(state.bytes(), weights);
}

}  // namespace
}  // namespace floe

// Whole models in double through the reference evaluator.
#include "nn/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "base/error.h"
#include "nn/models_for_test.h"
#include "passes/autodiff.h"
#include "passes/mixed_precision.h"

namespace floe {
namespace {

struct Variant {
  const char* name;
  std::function<void(ModelConfig&)> change;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"post", [](ModelConfig&) {}},
      {"pre", [](ModelConfig& c) { c.norm_placement = NormPlacement::pre; }},
      {"rms", [](ModelConfig& c) { c.norm_kind = NormKind::rms_norm; }},
      {"swiglu", [](ModelConfig& c) { c.activation = Activation::swiglu; }},
      {"gelu", [](ModelConfig& c) { c.activation = Activation::gelu; }},
      {"gelu_tanh_output_bias",
       [](ModelConfig& c) {
         c.activation = Activation::gelu_tanh;
         c.output_bias = true;
       }},
      {"silu_no_biases",
       [](ModelConfig& c) {
         c.activation = Activation::silu;
         c.biases = false;
       }},
      {"rotary", [](ModelConfig& c) { c.positions = PositionKind::rotary; }},
      {"rotary_interleaved",
       [](ModelConfig& c) {
         c.positions = PositionKind::rotary;
         c.rotary_interleaved = true;
       }},
      {"learned", [](ModelConfig& c) { c.positions = PositionKind::learned; }},
      {"no_positions", [](ModelConfig& c) { c.positions = PositionKind::none; }},
      {"grouped",
       [](ModelConfig& c) {
         c.heads = 4;
         c.kv_heads = 2;
       }},
      {"one_kv_head",
       [](ModelConfig& c) {
         c.heads = 4;
         c.kv_heads = 1;
         c.positions = PositionKind::rotary;
       }},
      {"untied",
       [](ModelConfig& c) {
         c.tied = Tied::none;
         c.source_vocabulary = 9;
         c.scale_embeddings = false;
       }},
      {"source_target", [](ModelConfig& c) { c.tied = Tied::source_target; }},
      {"target_output",
       [](ModelConfig& c) {
         c.tied = Tied::target_output;
         c.source_vocabulary = 9;
       }},
      {"decoder_only",
       [](ModelConfig& c) {
         c = tiny_decoder();
         c.norm_placement = NormPlacement::pre;
         c.positions = PositionKind::rotary;
       }},
      {"dropout",
       [](ModelConfig& c) {
         c.residual_dropout = 0.2;
         c.attention_dropout = 0.3;
         c.activation_dropout = 0.1;
       }},
  };
  return all;
}

ModelConfig config_of(const Variant& variant) {
  ModelConfig config = tiny_model();
  variant.change(config);
  return config;
}

// Two sentences of 4 and 3 words, 3 and 4 target tokens, padded to S and T.
RefMap batch(const ModelConfig& config, int64_t S = 4, int64_t T = 4) {
  const std::vector<std::vector<int64_t>> sources{{3, 7, 4, 8}, {5, 5, 6}};
  const std::vector<std::vector<int64_t>> targets{{4, 9, 2}, {3, 8, 10, 2}};
  RefMap feeds;
  if (config.has_encoder()) {
    feeds["source"] = ids({2, S}, std::vector<int64_t>(static_cast<size_t>(2 * S), 0));
    feeds["source_lengths"] = ids({2}, {4, 3});
  }
  feeds["target_in"] = ids({2, T}, std::vector<int64_t>(static_cast<size_t>(2 * T), 0));
  feeds["target_out"] = feeds["target_in"];
  for (size_t r = 0; r < 2; ++r) {
    if (config.has_encoder()) {
      std::copy(sources[r].begin(), sources[r].end(),
                feeds["source"].i.begin() + static_cast<int64_t>(r) * S);
    }
    const auto row = static_cast<int64_t>(r) * T;
    feeds["target_in"].i[static_cast<size_t>(row)] = config.start_id;
    std::copy(targets[r].begin(), targets[r].end() - 1, feeds["target_in"].i.begin() + row + 1);
    std::copy(targets[r].begin(), targets[r].end(), feeds["target_out"].i.begin() + row);
  }
  if (config.has_dropout()) {
    feeds["seed"] = ids({}, {99});
    feeds["ordinals"] = ids({2}, {5, 6});
  }
  return feeds;
}

class EveryVariant : public testing::TestWithParam<size_t> {
 public:
  const Variant& variant() const { return variants()[GetParam()]; }
};
INSTANTIATE_TEST_SUITE_P(Transformer, EveryVariant, testing::Range(size_t{0}, variants().size()),
                         [](const auto& info) { return variants()[info.param].name; });

// Every trainable weight along one random direction, by central differences: error h^2 f''' / 6 and rounding
// 1e-16 f / h balance near h = 1e-5, leaving about 1e-9 of the loss (about 20).
TEST_P(EveryVariant, GradientsMatchFiniteDifferences) {
  const ModelConfig config = config_of(variant());
  const Graph graph = training_graph(config, {});
  const RefMap feeds = batch(config);
  RefMap states = tiny_states(config);
  std::vector<std::string> wrt;
  for (const WeightSpec& spec : weight_table(config)) {
    if (spec.trainable) wrt.push_back(spec.name);
  }
  Differentiated d = differentiate(graph, "loss", wrt);
  for (const std::string& name : wrt) d.graph.add_output("d_" + name, d.gradients.at(name));
  const Evaluation at = evaluate(d.graph, feeds, states);
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  constexpr double h = 1e-5;
  double all = 0;
  for (const std::string& name : wrt) {
    const RefTensor& gradient = at.outputs.at("d_" + name);
    const std::vector<double> middle = states.at(name).f;
    std::vector<double> direction(middle.size());
    for (double& x : direction) x = normal(random);
    const double slope = std::inner_product(direction.begin(), direction.end(), gradient.f.begin(), 0.0);
    double ends[2];
    for (int side = 0; side < 2; ++side) {
      for (size_t i = 0; i < middle.size(); ++i) {
        states.at(name).f[i] = middle[i] + (side == 0 ? h : -h) * direction[i];
      }
      ends[side] = evaluate(graph, feeds, states).outputs.at("loss").f[0];
    }
    states.at(name).f = middle;
    EXPECT_NEAR(slope, (ends[0] - ends[1]) / (2 * h), 1e-6 * std::max(1.0, std::fabs(slope))) << name;
    all += std::fabs(slope);
  }
  EXPECT_GT(all, 1);  // the loss does depend on the weights
}

// The reference rounds where a cast says so: some thirty casts on a path of this model, each off by at most
// 2^-9 and 2^-10 on average, add up like a random walk to about 2^-7.5; 2^-5 is five times that.
// ReLU's slope jumps, which no bound on roundings covers: GELU takes its place.
TEST_P(EveryVariant, MixedPrecisionChangesGradientsByItsRoundingsAlone) {
  ModelConfig config = config_of(variant());
  if (config.activation == Activation::relu) config.activation = Activation::gelu;
  const Graph graph = training_graph(config, {});
  const RefMap feeds = batch(config);
  const RefMap states = tiny_states(config);
  std::vector<std::string> wrt;
  for (const WeightSpec& spec : weight_table(config)) {
    if (spec.trainable) wrt.push_back(spec.name);
  }
  const auto gradients = [&](const Graph& loss) {
    Differentiated d = differentiate(loss, "loss", wrt);
    for (const std::string& name : wrt) {
      EXPECT_EQ(d.graph.type(d.gradients.at(name)).dtype, DType::f32) << name;
      d.graph.add_output("d_" + name, d.gradients.at(name));
    }
    return evaluate(d.graph, feeds, states).outputs;
  };
  const Graph low = mixed_precision(graph);
  int products = 0;
  for (const Node& node : low.nodes()) {
    if (node.op->name != "matmul" && node.op->name != "attention") continue;
    ++products;
    EXPECT_EQ(node.types[0].dtype, DType::bf16);
  }
  EXPECT_GT(products, 0);
  const RefMap want = gradients(graph), got = gradients(low);
  EXPECT_NEAR(got.at("loss").f[0] / want.at("loss").f[0], 1, 0x1p-7);
  double error = 0;
  double size = 0;
  for (const std::string& name : wrt) {
    const RefTensor &g = got.at("d_" + name), &w = want.at("d_" + name);
    for (size_t i = 0; i < w.f.size(); ++i) {
      error += (g.f[i] - w.f[i]) * (g.f[i] - w.f[i]);
      size += w.f[i] * w.f[i];
    }
  }
  EXPECT_GT(error, 0);  // it does round
  EXPECT_LT(std::sqrt(error / size), 0x1p-5);
}

TEST_P(EveryVariant, PaddingChangesNothing) {
  const ModelConfig config = config_of(variant());
  const Graph graph = training_graph(config, {});
  const RefMap states = tiny_states(config);
  const RefMap tight = evaluate(graph, batch(config), states).outputs;
  const RefMap padded = evaluate(graph, batch(config, 7, 9), states).outputs;
  for (const char* name : {"loss", "nll", "tokens"}) {
    EXPECT_NEAR(padded.at(name).f[0], tight.at(name).f[0], 1e-12 * tight.at(name).f[0]) << name;
  }
  EXPECT_EQ(tight.at("tokens").f[0], 7);
}

// One row of a batch, alone.
RefMap row_of(const RefMap& feeds, int64_t row) {
  RefMap one = feeds;
  for (auto& [name, tensor] : one) {
    if (tensor.shape.empty()) continue;
    const auto width = static_cast<int64_t>(tensor.i.size()) / tensor.shape[0];
    tensor.i = {tensor.i.begin() + row * width, tensor.i.begin() + (row + 1) * width};
    tensor.shape[0] = 1;
  }
  return one;
}

// With dropout this also says that masks follow the sentence, not its place in the batch.
TEST_P(EveryVariant, SplittingTheBatchChangesNothing) {
  const ModelConfig config = config_of(variant());
  const Graph graph = training_graph(config, {});
  const RefMap states = tiny_states(config);
  const RefMap feeds = batch(config);
  const double whole = evaluate(graph, feeds, states).outputs.at("loss").f[0];
  double parts = 0;
  for (int64_t row = 0; row < 2; ++row)
    parts += evaluate(graph, row_of(feeds, row), states).outputs.at("loss").f[0];
  EXPECT_NEAR(parts, whole, 1e-12 * whole);
}

// The stretch of table that row r of `width` entries gets: blocks 0.. are dealt to rows in turn, so that no
// row's blocks lie together.
RefTensor dealt_table(int64_t rows, int64_t width) {
  RefTensor table(DType::i32, {rows, width});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < width; ++t) table.i[static_cast<size_t>(r * width + t)] = t * rows + r;
  }
  return table;
}

RefMap empty_caches(const ModelConfig& config, const CacheOptions& options, int64_t self_blocks,
                    int64_t cross_blocks) {
  SymbolTable symbols;
  RefMap caches;
  for (const CacheSpec& spec : cache_table(config, options, &symbols)) {
    Shape shape;
    for (const Dim& dim : spec.type.dims) {
      shape.push_back(dim.evaluate({{"self_blocks", self_blocks}, {"cross_blocks", cross_blocks}}));
    }
    caches[spec.name] = RefTensor(DType::f32, shape);
    // What was never written must never be read.
    for (double& x : caches[spec.name].f) x = std::nan("");
  }
  return caches;
}

void apply_updates(const Evaluation& evaluation, RefMap* states) {
  for (const auto& [name, value] : evaluation.updates) states->at(name) = value;
}

constexpr int64_t kSteps = 4;

struct Decoding {
  ModelConfig config;
  CacheOptions cache;
  RefMap states;
  RefMap feeds;        // of the batch
  RefTensor expected;  // log-probabilities [2, 4, V] of the sequence forward

  Decoding(const ModelConfig& c, CacheOptions options) : config(c), cache(options) {
    config.residual_dropout = config.attention_dropout = config.activation_dropout = 0;
    states = tiny_states(config);
    for (auto& [name, value] : empty_caches(config, cache, 2 * kSteps, 2 * kSteps))
      states[name] = std::move(value);
    feeds = batch(config);
    expected =
        evaluate(scoring_graph(config, {.all_log_probs = true}), feeds, states).outputs.at("log_probs");
    if (config.has_encoder()) {
      RefMap source{{"source", feeds.at("source")}, {"source_lengths", feeds.at("source_lengths")}};
      source["cross_table"] = cross_table();
      apply_updates(evaluate(encode_graph(config, cache), source, states), &states);
    }
  }
  RefTensor cross_table() const {
    return dealt_table(2, (kSteps + cache.cross_block - 1) / cache.cross_block);
  }
  RefTensor self_table() const { return dealt_table(2, (kSteps + cache.self_block - 1) / cache.self_block); }
  RefMap step_feeds() const {
    RefMap step;
    if (config.has_encoder()) {
      step["cross_table"] = cross_table();
      step["cross_lengths"] = feeds.at("source_lengths");
    }
    return step;
  }
  int64_t token(int64_t row, int64_t t) const {
    return feeds.at("target_in").i[static_cast<size_t>(row * kSteps + t)];
  }
  // logits [2, V] against the expected log-probabilities at position t of row r
  void expect(const RefTensor& logits, int64_t row, int64_t t) const {
    const int64_t V = config.target_vocabulary;
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) sum += std::exp(logits.f[static_cast<size_t>(row * V + v)]);
    for (int64_t v = 0; v < V; ++v) {
      const double got = logits.f[static_cast<size_t>(row * V + v)] - std::log(sum);
      EXPECT_NEAR(got, expected.f[static_cast<size_t>((row * kSteps + t) * V + v)], 1e-9) << row << " " << t;
    }
  }
};

TEST_P(EveryVariant, StepsThroughTheCacheEqualTheWholeSequence) {
  for (const CacheOptions options : {CacheOptions{1, 1}, CacheOptions{3, 2}}) {
    Decoding d(config_of(variant()), options);
    const Graph graph = step_graph(d.config, {.cache = options});
    for (int64_t t = 0; t < kSteps; ++t) {
      RefMap step = d.step_feeds();
      step["tokens"] = ids({2, 1}, {d.token(0, t), d.token(1, t)});
      step["positions"] = ids({2}, {t, t});
      step["lengths"] = ids({2}, {t + 1, t + 1});
      step["table"] = d.self_table();
      const Evaluation evaluation = evaluate(graph, step, d.states);
      apply_updates(evaluation, &d.states);
      for (int64_t row = 0; row < 2; ++row) d.expect(evaluation.outputs.at("logits"), row, t);
    }
  }
}

TEST_P(EveryVariant, StepsWithoutACacheEqualTheWholeSequence) {
  const CacheOptions options{1, 3};
  Decoding d(config_of(variant()), options);
  const Graph graph = uncached_step_graph(d.config, options);
  for (int64_t t = 0; t < kSteps; ++t) {
    RefMap step = d.step_feeds();
    step["tokens"] = RefTensor(DType::i32, {2, t + 1});
    for (int64_t k = 0; k < 2 * (t + 1); ++k) {
      step["tokens"].i[static_cast<size_t>(k)] = d.token(k / (t + 1), k % (t + 1));
    }
    const Evaluation evaluation = evaluate(graph, step, d.states);
    for (int64_t row = 0; row < 2; ++row) d.expect(evaluation.outputs.at("logits"), row, t);
  }
}

// Row 0 reads two tokens at once and row 1 three; then both go on one by one.
TEST_P(EveryVariant, PrefixesOfDifferentLengthsFillTheCache) {
  const CacheOptions options{1, 16};
  Decoding d(config_of(variant()), options);
  RefMap prefix = d.step_feeds();
  prefix["tokens"] =
      ids({2, 3}, {d.token(0, 0), d.token(0, 1), 0, d.token(1, 0), d.token(1, 1), d.token(1, 2)});
  prefix["positions"] = ids({2}, {0, 0});
  prefix["lengths"] = ids({2}, {3, 3});
  prefix["last"] = ids({2}, {1, 3 + 2});
  prefix["table"] = d.self_table();
  const Evaluation first =
      evaluate(step_graph(d.config, {.cache = options, .prefix = Prefix::many}), prefix, d.states);
  apply_updates(first, &d.states);
  d.expect(first.outputs.at("logits"), 0, 1);
  d.expect(first.outputs.at("logits"), 1, 2);
  RefMap step = d.step_feeds();
  step["tokens"] = ids({2, 1}, {d.token(0, 2), d.token(1, 3)});
  step["positions"] = ids({2}, {2, 3});
  step["lengths"] = ids({2}, {3, 4});
  step["table"] = d.self_table();
  const Evaluation second = evaluate(step_graph(d.config, {.cache = options}), step, d.states);
  d.expect(second.outputs.at("logits"), 0, 2);
  d.expect(second.outputs.at("logits"), 1, 3);
}

// Two beams of one sentence share its past: both tables name the same blocks, nothing is copied.
TEST(Cache, BeamsShareTheBlocksOfTheirCommonPast) {
  const CacheOptions options{1, 16};
  Decoding d(tiny_model(), options);
  const Graph graph = step_graph(d.config, {.cache = options});
  const auto run = [&](std::vector<int64_t> tokens, int64_t t, RefTensor table) {
    RefMap step;
    step["tokens"] = ids({2, 1}, std::move(tokens));
    step["positions"] = ids({2}, {t, t});
    step["lengths"] = ids({2}, {t + 1, t + 1});
    step["table"] = std::move(table);
    step["cross_table"] = ids({2, 1}, {1, 1});  // both rows read sentence 1
    step["cross_lengths"] = ids({2}, {3, 3});
    const Evaluation evaluation = evaluate(graph, step, d.states);
    apply_updates(evaluation, &d.states);
    return evaluation.outputs.at("logits");
  };
  run({d.token(1, 0), 4}, 0, ids({2, 3}, {0, -1, -1, 1, -1, -1}));
  // Row 1 leaves its own past (block 1) for row 0's (block 0), and takes row 1's tokens from here.
  run({7, d.token(1, 1)}, 1, ids({2, 3}, {0, 2, -1, 0, 3, -1}));
  const RefTensor logits = run({7, d.token(1, 2)}, 2, ids({2, 3}, {0, 2, 4, 0, 3, 5}));
  d.expect(logits, 1, 2);
}

TEST(Dropout, MasksFollowSeedAndOrdinal) {
  const ModelConfig config = config_of(variants().back());
  const Graph graph = training_graph(config, {});
  const RefMap states = tiny_states(config);
  RefMap feeds = batch(config);
  const auto loss = [&] { return evaluate(graph, feeds, states).outputs.at("loss").f[0]; };
  const double first = loss();
  feeds["seed"] = ids({}, {100});
  EXPECT_GT(std::fabs(loss() - first), 1e-3);
  feeds["seed"] = ids({}, {99});
  EXPECT_EQ(loss(), first);
  feeds["ordinals"] = ids({2}, {6, 5});
  EXPECT_GT(std::fabs(loss() - first), 1e-3);
  const Graph without = training_graph(config, {.dropout = false});
  for (const NamedValue& input : without.inputs()) EXPECT_NE(input.name, "seed");
}

TEST(Training, SmoothedLossMixesInTheMeanOverTheVocabulary) {
  const ModelConfig config = tiny_model();
  const RefMap states = tiny_states(config);
  const RefMap feeds = batch(config);
  const RefMap plain = evaluate(training_graph(config, {.label_smoothing = 0}), feeds, states).outputs;
  const RefMap smooth = evaluate(training_graph(config, {.label_smoothing = 0.1}), feeds, states).outputs;
  const Evaluation scored = evaluate(scoring_graph(config, {.all_log_probs = true}), feeds, states);
  double nll = 0, mean = 0;
  for (size_t at = 0; at < 8; ++at) {
    nll -= scored.outputs.at("scores").f[at];
    if (feeds.at("target_out").i[at] == config.pad_id) continue;
    for (size_t v = 0; v < 11; ++v) mean -= scored.outputs.at("log_probs").f[at * 11 + v] / 11;
  }
  // The smoothing's two factors are f32 constants, each within 2^-24 of its value.
  EXPECT_NEAR(plain.at("loss").f[0], nll, 1e-9);
  EXPECT_NEAR(smooth.at("nll").f[0], nll, 1e-9);
  EXPECT_NEAR(smooth.at("loss").f[0], 0.9 * nll + 0.1 * mean, 0x1p-24 * (nll + mean));
}

TEST(Scoring, GivesZeroWhereThereIsNoToken) {
  const ModelConfig config = tiny_model();
  const RefMap scores = evaluate(scoring_graph(config, {}), batch(config), tiny_states(config)).outputs;
  EXPECT_EQ(scores.at("scores").f[3], 0);
  for (const size_t at : {0, 1, 2, 4, 5, 6, 7}) EXPECT_LT(scores.at("scores").f[at], 0);
}

TEST(Scoring, AlignmentsSumToOneOverTheSource) {
  ModelConfig config = tiny_model();
  config.heads = 4;
  config.kv_heads = 2;
  const RefMap states = tiny_states(config);
  const auto aligned = [&](std::vector<int64_t> heads) {
    return evaluate(scoring_graph(config, {.alignment = AlignmentOptions{1, std::move(heads)}}),
                    batch(config, 6), states)
        .outputs.at("alignment");
  };
  const RefTensor all = aligned({});
  ASSERT_EQ(all.shape, (Shape{2, 4, 6}));
  for (size_t row = 0; row < 8; ++row) {
    EXPECT_NEAR(std::accumulate(all.f.begin() + static_cast<int64_t>(row) * 6,
                                all.f.begin() + static_cast<int64_t>(row + 1) * 6, 0.0),
                1, 1e-12);
    for (size_t s = row < 4 ? 4 : 3; s < 6; ++s) EXPECT_EQ(all.f[row * 6 + s], 0);  // padding
  }
  RefTensor mean = aligned({0});
  for (const int64_t head : {1, 2, 3}) {
    const RefTensor one = aligned({head});
    for (size_t i = 0; i < mean.f.size(); ++i) mean.f[i] += one.f[i];
  }
  for (size_t i = 0; i < mean.f.size(); ++i) EXPECT_NEAR(mean.f[i] / 4, all.f[i], 1e-12);
}

TEST(Graphs, NameLayersAsTheirWeights) {
  const Graph graph = training_graph(tiny_model(), {});
  bool found = false;
  for (const Node& node : graph.nodes()) {
    if (node.op->name == "attention" && node.where == "decoder.1.cross_attention") found = true;
  }
  EXPECT_TRUE(found);
  for (const NamedValue& state : graph.states()) {
    const Attrs& attrs = graph.producer(state.value).attrs;
    EXPECT_EQ(attrs.flag("trainable"), state.name != "positions.sinusoid") << state.name;
  }
}

template <class F>
std::string refusal(const F& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Graphs, RefuseWhatTheModelCannotDo) {
  EXPECT_EQ(refusal([] { encode_graph(tiny_decoder(), {}); }), "encode: a decoder_only model has no encoder");
  EXPECT_EQ(refusal([] { scoring_graph(tiny_decoder(), {.alignment = AlignmentOptions{}}); }),
            "alignment: a decoder_only model has no cross attention");
  EXPECT_EQ(refusal([] { scoring_graph(tiny_model(), {.alignment = AlignmentOptions{2, {}}}); }),
            "alignment: layer 2 is outside the 2 decoder layers");
  EXPECT_EQ(refusal([] { scoring_graph(tiny_model(), {.alignment = AlignmentOptions{0, {2}}}); }),
            "alignment: head 2 is outside the 2 heads");
  EXPECT_EQ(refusal([] { training_graph(tiny_model(), {.label_smoothing = 1}); }),
            "training: label_smoothing must be in [0, 1), got 1");
  EXPECT_EQ(refusal([] { step_graph(tiny_model(), {.cache = {.self_block = 0}}); }),
            "cache: self_block must be at least 1, got 0");
  EXPECT_EQ(refusal([] { encode_graph(tiny_model(), {.cross_block = 0}); }),
            "cache: cross_block must be at least 1, got 0");
  ModelConfig broken = tiny_model();
  broken.heads = 3;
  broken.kv_heads = 3;
  EXPECT_EQ(refusal([&] { training_graph(broken, {}); }), "model: heads = 3 does not divide d_model = 8");
}

}  // namespace
}  // namespace floe

// A trained transliteration model (CTranslate2's own test data), letter by letter: published scores and
// strings.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "interop/ctranslate2.h"
#include "ir/evaluate.h"
#include "nn/transformer.h"

namespace floe {
namespace {

using Words = std::vector<std::vector<std::string>>;

struct Pair {
  std::vector<std::string> source;
  std::vector<std::string> target;
  std::vector<double> scores;  // of the target's letters; the end token is not among them
};

const std::vector<Pair>& published() {
  static const std::vector<Pair> pairs = {
      {{"آ", "ت", "ز", "م", "و", "ن"},
       {"a", "t", "z", "m", "o", "n"},
       {-0.106023, -0.065410, -0.056002, -0.447953, -0.230714, -0.092184}},
      {{"آ", "ت", "ش", "ي", "س", "و", "ن"},
       {"a", "c", "h", "i", "s", "o", "n"},
       {-0.072660, -0.300309, -0.181187, -0.395671, -0.025631, -0.123466, -0.002034}},
      {{"آ", "ر", "ب", "ا", "ك", "ه"},
       {"a", "r", "b", "a", "k", "e"},
       {-0.103136, -0.089504, -0.063889, -0.007327, -0.452072, -0.060154}},
      {{}, {}, {}},
      {{"آ", "ر", "ث", "ر"},
       {"a", "r", "t", "h", "e", "r"},
       {-0.076704, -0.036037, -0.029253, -0.030273, -0.149276, -0.002440}},
  };
  return pairs;
}

RefTensor padded(const std::vector<std::vector<int32_t>>& rows, int32_t pad) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.size());
  RefTensor tensor(DType::i32, {static_cast<int64_t>(rows.size()), static_cast<int64_t>(width)});
  std::fill(tensor.i.begin(), tensor.i.end(), pad);
  for (size_t r = 0; r < rows.size(); ++r)
    std::copy(rows[r].begin(), rows[r].end(), tensor.i.begin() + r * width);
  return tensor;
}

RefTensor vector_of(const std::vector<int64_t>& values) {
  RefTensor tensor(DType::i32, {static_cast<int64_t>(values.size())});
  tensor.i = values;
  return tensor;
}

class Transliteration : public testing::Test {
 protected:
  bool load(const std::string& name) {
    const std::string folder = std::string(FLOE_SOURCE_DIR) + "/../shared/data/" + name;
    if (!file_exists(folder + "/model.bin")) return false;
    model_ = load_ctranslate2(folder);
    for (const auto& [weight, tensor] : model_->model.weights) states_[weight] = ref_of(tensor);
    return true;
  }
  const ModelConfig& config() const { return model_->model.config; }

  void feed_sources(const Words& words, RefMap* feeds) const {
    std::vector<std::vector<int32_t>> ids;
    std::vector<int64_t> lengths;
    for (const auto& word : words) {
      ids.push_back(model_->source.ids(word));
      lengths.push_back(static_cast<int64_t>(word.size()));
    }
    (*feeds)["source"] = padded(ids, 0);
    (*feeds)["source_lengths"] = vector_of(lengths);
  }

  // Log-probabilities of each pair's target and of the end token after it.
  std::vector<std::vector<double>> score(const std::vector<Pair>& pairs) const {
    Words sources;
    std::vector<std::vector<int32_t>> in, out;
    for (const Pair& pair : pairs) {
      sources.push_back(pair.source);
      out.push_back(model_->target.ids(pair.target));
      in.push_back(out.back());
      in.back().insert(in.back().begin(), config().start_id);
      out.back().push_back(config().eos_id);
    }
    RefMap feeds;
    feed_sources(sources, &feeds);
    feeds["target_in"] = padded(in, config().pad_id);
    feeds["target_out"] = padded(out, config().pad_id);
    const RefTensor scores = evaluate(scoring_graph(config(), {}), feeds, states_).outputs.at("scores");
    std::vector<std::vector<double>> rows;
    for (size_t r = 0; r < out.size(); ++r) {
      const auto first = scores.f.begin() + static_cast<int64_t>(r) * scores.shape[1];
      rows.emplace_back(first, first + static_cast<int64_t>(out[r].size()));
    }
    return rows;
  }

  // Greedy search through both caches.
  std::vector<std::string> greedy(const Words& words) {
    constexpr int64_t kMaxSteps = 12;
    const auto rows = static_cast<int64_t>(words.size());
    const CacheOptions options{.self_block = 16, .cross_block = 16};
    SymbolTable symbols;
    for (const CacheSpec& spec : cache_table(config(), options, &symbols)) {
      Shape shape;
      for (const Dim& dim : spec.type.dims) {
        shape.push_back(dim.evaluate({{"self_blocks", rows}, {"cross_blocks", rows}}));
      }
      states_[spec.name] = RefTensor(DType::f32, shape);
    }
    RefTensor table(DType::i32, {rows, 1});
    for (int64_t r = 0; r < rows; ++r) table.i[static_cast<size_t>(r)] = r;
    RefMap feeds;
    feed_sources(words, &feeds);
    feeds["cross_table"] = table;
    apply(evaluate(encode_graph(config(), options), feeds, states_));
    RefMap step{{"cross_table", table}, {"cross_lengths", feeds.at("source_lengths")}, {"table", table}};
    step["tokens"] = RefTensor(DType::i32, {rows, 1});
    std::fill(step["tokens"].i.begin(), step["tokens"].i.end(), config().start_id);
    const Graph graph = step_graph(config(), {.cache = options});
    std::vector<std::string> texts(words.size());
    std::vector<bool> done(words.size(), false);
    for (int64_t t = 0; t < kMaxSteps; ++t) {
      step["positions"] = vector_of(std::vector<int64_t>(words.size(), t));
      step["lengths"] = vector_of(std::vector<int64_t>(words.size(), t + 1));
      const Evaluation evaluation = evaluate(graph, step, states_);
      apply(evaluation);
      const RefTensor& logits = evaluation.outputs.at("logits");
      for (size_t r = 0; r < words.size(); ++r) {
        const auto first = logits.f.begin() + static_cast<int64_t>(r) * logits.shape[1];
        const auto best = static_cast<int32_t>(std::max_element(first, first + logits.shape[1]) - first);
        done[r] = done[r] || best == config().eos_id;
        if (!done[r]) texts[r] += model_->target.token(best);
        step["tokens"].i[r] = best;
      }
    }
    EXPECT_TRUE(std::all_of(done.begin(), done.end(), [](bool d) { return d; }));
    return texts;
  }

  void apply(const Evaluation& evaluation) {
    for (const auto& [name, value] : evaluation.updates) states_.at(name) = value;
  }

  std::optional<Ct2Folder> model_;
  RefMap states_;
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

TEST_F(Transliteration, FloatModelGivesThePublishedScores) {
  if (!load("ct2-aren-transliteration")) GTEST_SKIP() << "no ../shared/data/ct2-aren-transliteration";
  EXPECT_EQ(config().encoder_layers, 6);
  EXPECT_EQ(config().heads, 8);
  EXPECT_EQ(config().tied, Tied::none);
  const std::vector<std::vector<double>> scores = score(published());
  for (size_t r = 0; r < scores.size(); ++r) {
    const std::vector<double>& want = published()[r].scores;
    // Six printed digits, from a run in f32: 5e-7 and a few units of 2^-24 times logits of about 10.
    for (size_t t = 0; t < want.size(); ++t) EXPECT_NEAR(scores[r][t], want[t], 3e-6) << r << " " << t;
  }
  EXPECT_NEAR(mean(scores[0]), -0.15168, 5e-6 + 3e-6);
  EXPECT_NEAR(mean(scores[1]), -0.13920, 5e-6 + 3e-6);
}

TEST_F(Transliteration, Int8ModelGivesItsOwnScores) {
  if (!load("ct2-aren-transliteration-i8")) GTEST_SKIP() << "no ../shared/data/ct2-aren-transliteration-i8";
  const std::vector<std::vector<double>> scores = score(published());
  EXPECT_NEAR(mean(scores[0]), -0.15538, 5e-6 + 3e-6);
  EXPECT_NEAR(mean(scores[1]), -0.14205, 5e-6 + 3e-6);
}

TEST_F(Transliteration, GreedySearchSpells) {
  if (!load("ct2-aren-transliteration")) GTEST_SKIP() << "no ../shared/data/ct2-aren-transliteration";
  const Words words{published()[0].source, published()[1].source, {"آ", "ز", "ا"}};
  EXPECT_EQ(greedy(words), (std::vector<std::string>{"atzmon", "achison", "azza"}));
}

TEST_F(Transliteration, Int8GreedySearchSpells) {
  if (!load("ct2-aren-transliteration-i8")) GTEST_SKIP() << "no ../shared/data/ct2-aren-transliteration-i8";
  const Words words{published()[0].source, published()[1].source, {"آ", "ز", "ا"}};
  EXPECT_EQ(greedy(words), (std::vector<std::string>{"atzmon", "achison", "azza"}));
}

}  // namespace
}  // namespace floe

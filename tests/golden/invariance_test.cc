// A line's translations and scores are the same bits whatever stands beside it: any batch size, any order,
// any number of threads. On a published model where it is there, and on one that the test makes.
#include <algorithm>
#include <memory>
#include <numeric>
#include <random>

#include "golden/aren.h"
#include "golden/letters_model.h"
#include "text/lines.h"

namespace floe {
namespace {

struct Subject {
  const char* name;
  size_t lines;
  bool published;
};
std::string name_of(const testing::TestParamInfo<Subject>& info) { return info.param.name; }
void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.name; }

// Words of 1 to 20 letters out of the source vocabulary; every 50th line is blank.
std::vector<std::string> made_up_lines(const TextCodec& codec, size_t n) {
  std::vector<std::string> letters;
  for (int32_t id = 0; id < codec.size(); ++id) {
    if (!codec.token(id).starts_with('<') && !is_blank(codec.token(id))) letters.push_back(codec.token(id));
  }
  std::mt19937 random(20);
  std::vector<std::string> lines(n);
  for (size_t i = 0; i < n; ++i) {
    if (i % 50 == 49) {
      lines[i] = i % 100 == 99 ? " \t" : "";
      continue;
    }
    const size_t length = 1 + random() % 20;
    for (size_t k = 0; k < length; ++k) lines[i] += letters[random() % letters.size()];
  }
  return lines;
}

void expect_same(const std::vector<Translation>& a, const std::vector<Translation>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  size_t different = 0;
  std::string first;
  for (size_t i = 0; i < a.size(); ++i) {
    bool same = a[i].candidates.size() == b[i].candidates.size() && !a[i].failure && !b[i].failure;
    for (size_t k = 0; same && k < a[i].candidates.size(); ++k) {
      const Candidate &x = a[i].candidates[k], &y = b[i].candidates[k];
      same = x.text == y.text && x.tokens == y.tokens && x.score == y.score &&
             x.log_probability == y.log_probability;
    }
    if (same) continue;
    if (different++ == 0) first = fmt::format("line {}: '{}' and '{}'", i + 1, a[i].text(), b[i].text());
  }
  EXPECT_EQ(different, 0u) << what << ": " << first;
}

class Invariance : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    if (GetParam().published && !has_aren()) GTEST_SKIP() << aren_folder() << "/model.bin is absent";
    session_ = std::make_unique<ModelSession>(model(), *two_);
    lines_ = made_up_lines(session_->text().source, GetParam().lines);
    options_.search.max_length = 30;
  }
  static ModelFile model() { return GetParam().published ? load_model(aren_folder()) : letters_model(); }

  std::vector<Translation> translate(ModelSession& session, std::span<const std::string> lines,
                                     int64_t batch_rows, uint64_t first_line = 1) const {
    TranslatorOptions options = options_;
    options.batch_rows = batch_rows;
    options.batch_tokens = 1 << 20;
    return session
        .translator(options, [](const std::string& text) { ADD_FAILURE() << "unexpected warning: " << text; })
        .translate(lines, {}, first_line);
  }
  void use_beam(int64_t beam) {
    options_.search.beam = beam;
    options_.search.n_best = std::min<int64_t>(beam, 2);
  }

  std::unique_ptr<Device> one_ = open_test_device(1), two_ = open_test_device(2);
  std::unique_ptr<ModelSession> session_;
  std::vector<std::string> lines_;
  TranslatorOptions options_;
};

TEST_P(Invariance, BatchesAndOrderChangeNoBit) {
  for (const int64_t beam : {1, 4}) {
    use_beam(beam);
    const auto want = translate(*session_, lines_, 64);
    std::vector<size_t> lengths;
    for (const Translation& t : want) lengths.push_back(t.candidates.at(0).tokens.size());
    std::sort(lengths.begin(), lengths.end());
    EXPECT_LT(lengths[lengths.size() / 4], lengths.back()) << "the model is too plain for this test";

    expect_same(translate(*session_, lines_, 1), want, fmt::format("beam {}, batch 1", beam));
    expect_same(translate(*session_, lines_, 8), want, fmt::format("beam {}, batch 8", beam));

    std::vector<size_t> order(lines_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937(4));
    std::vector<std::string> shuffled;
    for (const size_t i : order) shuffled.push_back(lines_[i]);
    const auto mixed = translate(*session_, shuffled, 64);
    std::vector<Translation> back(lines_.size());
    for (size_t k = 0; k < order.size(); ++k) back[order[k]] = mixed[k];
    expect_same(back, want, fmt::format("beam {}, shuffled", beam));
  }
}

TEST_P(Invariance, ThreadsChangeNoBit) {
  ModelSession alone(model(), *one_);
  for (const int64_t beam : {1, 4}) {
    use_beam(beam);
    expect_same(translate(alone, lines_, 64), translate(*session_, lines_, 64), fmt::format("beam {}", beam));
  }
}

TEST_P(Invariance, TheCacheChangesNoText) {
  ModelSession plain(model(), *two_, {.kv_cache = false});
  for (const int64_t beam : {1, 4}) {
    use_beam(beam);
    const auto a = translate(plain, lines_, 64), b = translate(*session_, lines_, 64);
    for (size_t i = 0; i < lines_.size(); ++i) {
      EXPECT_EQ(a[i].text(), b[i].text()) << "beam " << beam << ", line " << i + 1;
      EXPECT_NEAR(a[i].candidates[0].score, b[i].candidates[0].score, 1e-5);
    }
  }
}

TEST_P(Invariance, SamplesBelongToTheirLines) {
  options_.search.sampling = true;
  options_.search.n_best = 2;
  options_.search.sample = {.temperature = 1.1, .top_k = 10, .top_p = 0.95, .seed = 3};
  const auto want = translate(*session_, lines_, 64);
  expect_same(translate(*session_, lines_, 64), want, "once more");
  expect_same(translate(*session_, lines_, 7), want, "batch 7");
  const size_t half = lines_.size() / 2;
  auto parts = translate(*session_, std::span(lines_).first(half), 64);
  for (Translation& t : translate(*session_, std::span(lines_).subspan(half), 64, half + 1))
    parts.push_back(std::move(t));
  expect_same(parts, want, "in two calls");
  options_.search.sample.seed = 4;
  const auto other = translate(*session_, lines_, 64);
  size_t different = 0;
  for (size_t i = 0; i < lines_.size(); ++i) different += other[i].text() != want[i].text();
  EXPECT_GT(different, lines_.size() / 4);
}

TEST_P(Invariance, BlankLinesStayInPlace) {
  const auto got = translate(*session_, lines_, 8);
  for (size_t i = 0; i < lines_.size(); ++i) {
    const bool blank = i % 50 == 49;
    EXPECT_EQ(got[i].text().empty(), blank) << "line " << i + 1;
    EXPECT_EQ(got[i].candidates[0].score == 0, blank) << "line " << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Invariance,
                         testing::Values(Subject{.name = "Published", .lines = 1000, .published = true},
                                         Subject{.name = "Made", .lines = 200, .published = false}),
                         name_of);

}  // namespace
}  // namespace floe

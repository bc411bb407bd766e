// The step of a search as one op and as the ops that it means.
#pragma once
#include <limits>
#include <random>

#include "ops/search/search_cases_for_test.h"

namespace floe {

struct StepSizes {
  int64_t sentences = 3, beam = 2, vocabulary = 50, positions = 12, lines = 8;
  uint64_t seed = 1;
};

// Sentences with and without options, one of them forced; dead rows where a sentence has several.
inline OpCase choice_case(const StepSizes& s, bool neutral = false) {
  std::mt19937_64 random(s.seed);
  std::normal_distribution<float> normal;
  const auto below = [&](int64_t n) { return static_cast<int32_t>(random() % static_cast<uint64_t>(n)); };
  const int64_t rows = s.sentences * s.beam;
  const auto numbers = [&](int64_t n) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& value : x) value = normal(random);
    return x;
  };
  const auto ids = [&](int64_t n, int64_t bound) {
    std::vector<int32_t> x(static_cast<size_t>(n));
    for (int32_t& value : x) value = below(bound);
    return x;
  };
  std::vector<float> scores = numbers(rows), repetition(static_cast<size_t>(s.sentences), 1.0f);
  std::vector<int32_t> ngram(repetition.size(), 0), least(repetition.size(), 0),
      forced(repetition.size(), -1), suppressed(2 * repetition.size(), -1), phase(repetition.size(), 2);
  for (int64_t k = 0; k < s.sentences && !neutral; ++k) {
    const auto at = static_cast<size_t>(k);
    if (k % 2 == 1) repetition[at] = 2;  // exact in every precision
    if (k % 3 == 1) ngram[at] = 2;
    if (k % 3 == 2) least[at] = static_cast<int32_t>(s.positions);
    if (k % 4 == 3) suppressed[2 * at] = below(s.vocabulary);
    if (k % 5 == 4) forced[at] = below(s.vocabulary);
    phase[at] = static_cast<int32_t>(k % 3);
    if (s.beam > 1) scores[at * static_cast<size_t>(s.beam) + 1] = -std::numeric_limits<float>::infinity();
  }
  const int64_t candidates = 2 * s.beam;
  return {"search_choice",
          {floats({rows, s.vocabulary}, numbers(rows * s.vocabulary)),
           ints({s.lines, s.positions}, ids(s.lines * s.positions, s.vocabulary)),
           ints({rows}, ids(rows, s.positions + 1)), floats({s.sentences}, repetition),
           ints({s.sentences}, ngram), ints({s.sentences}, least),
           ints({s.sentences, 2}, ids(2 * s.sentences, s.vocabulary)), ints({s.sentences, 2}, suppressed),
           ints({s.sentences}, forced), floats({rows}, scores), ints({s.sentences}, phase),
           ints({s.lines}, ids(s.lines, 99)), ints({s.lines}, ids(s.lines, 99)),
           floats({s.lines}, numbers(s.lines))},
          {{"beam", s.beam}, {"candidates", candidates}}};
}

inline OpCase begin_case(const StepSizes& s, int32_t epoch) {
  std::mt19937_64 random(s.seed);
  const auto below = [&](int64_t n) { return static_cast<int32_t>(random() % static_cast<uint64_t>(n)); };
  const int64_t rows = s.sentences * s.beam;
  const auto ids = [&](int64_t n, int64_t bound) {
    std::vector<int32_t> x(static_cast<size_t>(n));
    for (int32_t& value : x) value = below(bound);
    return x;
  };
  std::vector<float> scores(static_cast<size_t>(s.lines), -1.0f),
      start_scores(static_cast<size_t>(rows), -2.0f);
  for (size_t i = 0; i < scores.size(); i += 3) scores[i] = -std::numeric_limits<float>::infinity();
  return {
      "search_begin",
      {ints({2}, {4, 1}), ints({}, {epoch}), ints({s.lines}, ids(s.lines, s.lines)),
       ints({s.lines}, ids(s.lines, s.vocabulary)), floats({s.lines}, scores),
       ints({rows}, ids(rows, s.lines)), ints({rows}, ids(rows, s.vocabulary)), floats({rows}, start_scores),
       ints({s.sentences}, ids(s.sentences, s.positions - 3)), ints({s.sentences}, ids(s.sentences, 1000)),
       ints({s.sentences},
            std::vector<int32_t>(static_cast<size_t>(s.sentences), static_cast<int32_t>(s.positions - 1))),
       ints({s.sentences, 2}, ids(2 * s.sentences, s.vocabulary)), ints({s.sentences}, ids(s.sentences, 4)),
       ints({s.lines, s.positions}, ids(s.lines * s.positions, 1000)),
       ints({s.lines, s.positions}, ids(s.lines * s.positions, s.vocabulary))},
      {{"beam", s.beam}}};
}

// What the ops that it means give one after the other, each by `run`: a kernel's or the reference's results
// as tensors. In the order of the joined op's results.
template <class Run>
std::vector<Tensor> choice_by_parts(const OpCase& c, Run run) {
  const auto in = [&](size_t k) { return c.inputs[k]; };
  const auto of = [](const Tensor& tensor) { return CaseInput::of(copy_of(tensor)); };
  const int64_t beam = c.attrs.integer("beam");
  std::vector<Tensor> out =
      run(OpCase{"search_penalties", {c.inputs.begin(), c.inputs.begin() + 9}, {{"beam", beam}}});
  std::vector<Tensor> found = run(candidates_case(of(out[0]), in(9), beam, c.attrs.integer("candidates")));
  std::vector<Tensor> next = run(OpCase{"beam_advance",
                                        {of(found[0]), of(found[1]), of(found[2]), in(6), in(10)},
                                        {{"beam_in", beam}, {"beam", beam}}});
  std::vector<Tensor> kept =
      run(OpCase{"search_keep", {in(11), in(12), in(13), of(next[0]), of(next[1]), of(next[2])}});
  for (Tensor& tensor : found) out.push_back(std::move(tensor));
  out.push_back(std::move(next[3]));
  out.push_back(std::move(next[4]));
  for (Tensor& tensor : kept) out.push_back(std::move(tensor));
  return out;
}
template <class Run>
std::vector<Tensor> begin_by_parts(const OpCase& c, Run run) {
  const auto of = [](const Tensor& tensor) { return CaseInput::of(copy_of(tensor)); };
  std::vector<Tensor> out = run(OpCase{"search_turn", {c.inputs.begin(), c.inputs.begin() + 13}, c.attrs});
  std::vector<Tensor> table = run(OpCase{"beam_rows", {c.inputs[13], of(out[1]), of(out[4]), of(out[6])}});
  std::vector<Tensor> history = run(OpCase{"beam_rows", {c.inputs[14], of(out[1]), of(out[7]), of(out[2])}});
  for (auto* states : {&table, &history}) {
    for (Tensor& tensor : *states) out.push_back(std::move(tensor));
  }
  return out;
}

inline void expect_same_bits(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    ASSERT_EQ(got[k].shape(), want[k].shape()) << k;
    EXPECT_EQ(0, std::memcmp(got[k].data(), want[k].data(), got[k].bytes())) << "result " << k;
  }
}

}  // namespace floe

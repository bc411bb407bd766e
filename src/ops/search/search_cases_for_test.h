// Cases of the search that the tests of all devices build on.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "testing/op_case.h"

namespace floe {

inline OpCase candidates_case(CaseInput logits, CaseInput scores, int64_t beam, int64_t candidates) {
  return {"beam_candidates",
          {std::move(logits), std::move(scores)},
          {{"beam", beam}, {"candidates", candidates}}};
}

inline CaseInput floats(Shape shape, const std::vector<float>& values) {
  return CaseInput::of(Tensor::from_floats(std::move(shape), values));
}
inline CaseInput ints(Shape shape, const std::vector<int32_t>& values) {
  return CaseInput::of(Tensor::from_ints(std::move(shape), values));
}

// The candidates of `sentences`, alone and among all up to the last of them, must be the same bits.
inline void expect_sentences_alone(int64_t vocabulary, const std::vector<int64_t>& sentences) {
  constexpr int64_t kBeam = 3;
  const int64_t rows = (sentences.back() + 1) * kBeam;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> logits, scores;
  for (int64_t i = 0; i < rows * vocabulary; ++i) logits.push_back(normal(random));
  for (int64_t i = 0; i < rows; ++i) scores.push_back(normal(random));
  const auto all = run_kernel(
      candidates_case(floats({rows, vocabulary}, logits), floats({rows}, scores), kBeam, 2 * kBeam));
  for (const int64_t s : sentences) {
    const auto from = logits.begin() + s * kBeam * vocabulary;
    const auto one = run_kernel(candidates_case(
        floats({kBeam, vocabulary}, {from, from + kBeam * vocabulary}),
        floats({kBeam}, {scores.begin() + s * kBeam, scores.begin() + (s + 1) * kBeam}), kBeam, 2 * kBeam));
    for (size_t k = 0; k < one.size(); ++k) {
      EXPECT_EQ(0, std::memcmp(one[k].data(), all[k].as<float>() + s * 2 * kBeam, one[k].bytes()))
          << "sentence " << s << ", result " << k;
    }
  }
}

}  // namespace floe

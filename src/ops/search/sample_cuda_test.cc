// Draws on the GPU over large rows: the token must be the one that sums in double choose.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kRows = 12;

struct Options {
  double temperature_low = 0.1, temperature_high = 2;
  int64_t top_k_low = 0, top_k_high = 90;
  double top_p_low = 0.2, top_p_high = 1.3;
};

OpCase sample_case(CaseInput logits, uint64_t seed, const Options& options) {
  OpCase c{"sample",
           {std::move(logits), CaseInput::uniform({kRows}, -3, 0),
            CaseInput::uniform({kRows}, options.temperature_low, options.temperature_high),
            CaseInput::integers({kRows}, options.top_k_low, options.top_k_high),
            CaseInput::uniform({kRows}, options.top_p_low, options.top_p_high),
            CaseInput::integers({kRows}, -5, 5), CaseInput::integers({kRows}, 0, 1000),
            CaseInput::integers({kRows}, 0, 4), CaseInput::integers({kRows}, 0, 50)},
           {{"op_id", int64_t{4}}}};
  c.seed = seed;
  return c;
}

TEST(SampleCuda, MatchesTheReferenceOverLargeRows) {
  FLOE_NEEDS_CUDA();
  for (const int64_t vocabulary : {1023, 1024, 1025, 2049, 32003}) {
    for (uint64_t seed = 1; seed < 4; ++seed) {
      check_kernel(sample_case(CaseInput::normal({kRows, vocabulary}), seed, {}));
    }
  }
}

TEST(SampleCuda, MatchesTheReferenceWithoutTopK) {
  FLOE_NEEDS_CUDA();
  for (const int64_t vocabulary : {1500, 20011}) {  // the nucleus is far larger than what is gathered
    for (uint64_t seed = 1; seed < 4; ++seed) {
      check_kernel(
          sample_case(CaseInput::normal({kRows, vocabulary}), seed, {.top_k_low = 0, .top_k_high = 1}));
      check_kernel(sample_case(CaseInput::normal({kRows, vocabulary}), seed,
                               {.temperature_low = 0.01,
                                .temperature_high = 0.3,
                                .top_k_low = 0,
                                .top_k_high = 1,
                                .top_p_high = 0.99}));
    }
  }
}

TEST(SampleCuda, MatchesTheReferenceForLargeTopK) {
  FLOE_NEEDS_CUDA();
  for (uint64_t seed = 1; seed < 4; ++seed) {
    check_kernel(
        sample_case(CaseInput::normal({kRows, 20011}), seed, {.top_k_low = 1500, .top_k_high = 30000}));
  }
}

TEST(SampleCuda, KeepsTheLowerIdsOfEqualLogits) {
  FLOE_NEEDS_CUDA();
  Tensor logits(DType::f32, {kRows, 9000});
  std::mt19937 random(3);
  for (int64_t i = 0; i < logits.size(); ++i) logits.set(i, static_cast<double>(random() % 3));
  for (uint64_t seed = 1; seed < 4; ++seed) {
    check_kernel(sample_case(CaseInput::of(copy_of(logits)), seed, {.top_k_low = 1, .top_k_high = 4000}));
  }
}

TEST(SampleCuda, ForbiddenTokensAreNeverDrawn) {
  FLOE_NEEDS_CUDA();
  Tensor logits(DType::f32, {kRows, 7000});
  for (int64_t i = 0; i < logits.size(); ++i) {
    logits.as<float>()[i] = i % 7000 % 500 == 17 ? static_cast<float>(i % 3) : -kInf;
  }
  for (uint64_t seed = 1; seed < 4; ++seed) {
    check_kernel(sample_case(CaseInput::of(copy_of(logits)), seed, {.top_k_high = 20}));
  }
}

TEST(SampleCuda, RowsThatAreFaultyOrDeadGiveNone) {
  FLOE_NEEDS_CUDA();
  Tensor logits(DType::f32, {kRows, 5000});
  std::mt19937 random(3);
  for (int64_t i = 0; i < logits.size(); ++i) logits.set(i, static_cast<double>(random() % 1000) / 100);
  logits.as<float>()[4999] = std::numeric_limits<float>::quiet_NaN();
  logits.as<float>()[5000 + 77] = kInf;
  std::fill_n(logits.as<float>() + 2 * 5000, 5000, -kInf);
  OpCase c = sample_case(CaseInput::of(std::move(logits)), 1, {});
  std::vector<float> scores(kRows, -1);
  scores[3] = -kInf;
  scores[4] = std::numeric_limits<float>::quiet_NaN();
  c.inputs[1] = CaseInput::of(Tensor::from_floats({kRows}, scores));
  check_kernel(c);
}

}  // namespace
}  // namespace floe

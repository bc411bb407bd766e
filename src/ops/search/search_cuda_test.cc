// What the GPU's kernels have of their own: rows of several parts, many candidates, work over the input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "ops/search/search_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Multiples of 1/8: full of equal logits, and values of two rows are equal or well apart, so that rounding
// decides no order.
Tensor eighths(Shape shape, uint64_t seed) {
  Tensor x(DType::f32, std::move(shape));
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, std::round(8 * normal(random)) / 8);
  return x;
}

std::vector<float> spread_scores(int64_t rows) {
  std::vector<float> scores;
  for (int64_t r = 0; r < rows; ++r) scores.push_back(-0.37f * static_cast<float>(r % 5) - 0.5f);
  return scores;
}

// The operation with output 0 over input 0, on the test's device; all outputs.
std::vector<Tensor> run_over_input(const OpCase& c, const std::vector<View>& outputs) {
  const auto device = open_test_device();
  std::vector<DeviceBuffer> memory;
  std::vector<View> in, out = outputs;
  KernelSignature signature{c.op, {}, {}, {}, &c.attrs};
  for (const CaseInput& input : c.inputs) {
    memory.emplace_back(*device, input.value->bytes());
    if (input.value->bytes() > 0) {
      device->upload(memory.back().data(), input.value->data(), input.value->bytes());
    }
    in.emplace_back(memory.back().data(), input.dtype, input.shape);
    signature.inputs.push_back(input.dtype);
    signature.ranks.push_back(in.back().rank);
  }
  for (View& view : out) {
    memory.emplace_back(*device, view.bytes());
    view.data = &view == out.data() ? in[0].data : memory.back().data();
    signature.outputs.push_back(view.dtype);
  }
  const Kernel* kernel = test_kernels().find(device->kind(), signature);
  const BoundKernel bound = kernel->bind({c.attrs, in, out, 2, 0, device.get()});
  const DeviceBuffer workspace(*device, bound.workspace);
  bound.run({in, out, workspace.data(), device->pool(), nullptr, device->stream()});
  std::vector<Tensor> results;
  for (const View& view : out) {
    Tensor tensor(view.dtype, view.shape());
    if (tensor.bytes() > 0) device->download(tensor.data(), view.data, tensor.bytes());
    device->wait();
    results.push_back(std::move(tensor));
  }
  return results;
}

// ---- beam_candidates

TEST(BeamCandidatesCuda, MatchTheReferenceOverSeveralParts) {
  FLOE_NEEDS_CUDA();
  for (const int64_t vocabulary : {4095, 4096, 4097, 8192, 32003, 65536}) {
    check_kernel(candidates_case(CaseInput::normal({3, vocabulary}), CaseInput::uniform({3}, -4, 0), 1, 2));
    for (const int64_t beam : {2, 3, 4, 5}) {
      check_kernel(candidates_case(CaseInput::of(eighths({2 * beam, vocabulary}, 7)),
                                   floats({2 * beam}, spread_scores(2 * beam)), beam, 2 * beam));
    }
  }
}

TEST(BeamCandidatesCuda, MatchTheReferenceForEveryBeam) {
  FLOE_NEEDS_CUDA();
  for (int64_t beam = 1; beam <= 16; ++beam) {
    check_kernel(candidates_case(CaseInput::of(eighths({2 * beam, 9001}, 3)),
                                 floats({2 * beam}, spread_scores(2 * beam)), beam, 2 * beam));
  }
  check_kernel(
      candidates_case(CaseInput::of(eighths({16, 65537}, 3)), floats({16}, spread_scores(16)), 16, 32));
}

TEST(BeamCandidatesCuda, MatchTheReferenceForManyCandidates) {
  FLOE_NEEDS_CUDA();
  for (const int64_t candidates : {33, 255, 256, 257, 1000, 5000, 20000}) {
    check_kernel(candidates_case(CaseInput::normal({1, 9001}), floats({1}, {-1}), 1, candidates));
    check_kernel(
        candidates_case(CaseInput::of(eighths({4, 9001}, 5)), floats({4}, spread_scores(4)), 2, candidates));
  }
}

TEST(BeamCandidatesCuda, EqualOnesGoByPlaceThenIdAcrossParts) {
  FLOE_NEEDS_CUDA();
  const std::vector<float> equal(3 * 9000, 0.5f);
  check_kernel(candidates_case(floats({3, 9000}, equal), floats({3}, {-1, -1, -1}), 3, 6));
  check_kernel(candidates_case(floats({3, 9000}, equal), floats({3}, {-1, -1, -1}), 3, 20000));
  const auto out = run_kernel(candidates_case(floats({3, 9000}, equal), floats({3}, {-2, -1, -1}), 3, 4));
  for (int j = 0; j < 4; ++j) {
    EXPECT_EQ(out[1].at(j), j);
    EXPECT_EQ(out[2].at(j), 1);
  }
}

// Where the largest stand together more of them reach the block's bound than it has room for.
TEST(BeamCandidatesCuda, OrderedRowsMatchTheReference) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kVocabulary = 8200;
  for (const int64_t candidates : {1, 2, 8, 15, 16, 17, 40}) {
    for (const bool falling : {false, true}) {
      Tensor logits = eighths({4, kVocabulary}, 13);
      float* x = logits.as<float>();
      for (int row = 0; row < 4; ++row) std::sort(x + row * kVocabulary, x + (row + 1) * kVocabulary);
      if (falling) {
        for (int row = 0; row < 4; ++row) std::reverse(x + row * kVocabulary, x + (row + 1) * kVocabulary);
      }
      check_kernel(
          candidates_case(CaseInput::of(std::move(logits)), floats({4}, spread_scores(4)), 2, candidates));
    }
    Tensor distinct(DType::f32, {2, kVocabulary});  // no two are equal
    for (int64_t i = 0; i < distinct.size(); ++i) {
      const int64_t id = i % kVocabulary;
      distinct.set(i, -static_cast<double>(i < kVocabulary ? id : kVocabulary - id) / 64);
    }
    check_kernel(candidates_case(CaseInput::of(std::move(distinct)), floats({2}, {-1, -2}), 1, candidates));
  }
}

TEST(BeamCandidatesCuda, FewPermittedTokensMatchTheReference) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kVocabulary = 8200;
  for (const int64_t candidates : {1, 2, 8, 16, 17}) {
    for (const int64_t permitted : {1, 3, 7, 16, 40, 300, 700}) {
      for (const int64_t stride : {1, 4, 11}) {  // side by side, in other threads, apart
        Tensor logits = eighths({2, kVocabulary}, 17);
        float* x = logits.as<float>();
        for (int64_t i = 0; i < 2 * kVocabulary; ++i) {
          const int64_t id = i % kVocabulary - 100;
          if (id < 0 || id % stride != 0 || id / stride >= permitted) x[i] = -kInf;
        }
        check_kernel(
            candidates_case(CaseInput::of(std::move(logits)), floats({2}, {-0.5f, -0.87f}), 2, candidates));
      }
    }
  }
}

TEST(BeamCandidatesCuda, BothZerosGoById) {
  FLOE_NEEDS_CUDA();
  for (const int64_t vocabulary : {50, 5000}) {
    Tensor logits(DType::f32, {1, vocabulary});
    for (int64_t i = 0; i < vocabulary; ++i) logits.set(i, i > 40 ? -1.0 : i % 2 == 0 ? -0.0 : 0.0);
    const auto out = run_kernel(candidates_case(CaseInput::of(std::move(logits)), floats({1}, {-1}), 1, 8));
    for (int j = 0; j < 8; ++j) EXPECT_EQ(out[1].at(j), j);
  }
}

TEST(BeamCandidatesCuda, ManySentencesWithDeadRowsMatchTheReference) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kSentences = 150, kBeam = 2;
  std::vector<float> scores = spread_scores(kSentences * kBeam);
  for (size_t row = 0; row < scores.size(); ++row) {
    if (row % 3 == 1 || row / kBeam % 5 == 0) scores[row] = -kInf;
  }
  Tensor logits = eighths({kSentences * kBeam, 4100}, 19);
  for (size_t row = 0; row < scores.size(); ++row) {
    if (scores[row] == -kInf) std::fill_n(logits.as<float>() + row * 4100, 4100, kNaN);
  }
  check_kernel(candidates_case(CaseInput::of(std::move(logits)), floats({kSentences * kBeam}, scores), kBeam,
                               2 * kBeam));
}

TEST(BeamCandidatesCuda, DeadAndFaultyRowsGiveNone) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kVocabulary = 8197;
  for (const int64_t candidates : {4, 30000}) {
    for (int fault = 0; fault < 8; ++fault) {
      Tensor logits = eighths({4, kVocabulary}, 9);
      std::vector<float> scores = spread_scores(4);
      float* row = logits.as<float>() + kVocabulary;
      if (fault == 0) row[kVocabulary - 1] = kNaN;
      if (fault == 1) row[5000] = kInf;
      if (fault == 2) std::fill_n(row, kVocabulary, -kInf);
      if (fault == 3) scores[1] = -kInf;
      if (fault == 4) scores[1] = kNaN;
      if (fault == 5) scores[1] = kInf;
      if (fault == 6) std::fill_n(row, kVocabulary - 1, -kInf);
      if (fault == 7) {
        scores[0] = scores[1] = scores[2] = -kInf;
        row[3] = kNaN;
      }
      check_kernel(candidates_case(CaseInput::of(std::move(logits)), floats({4}, scores), 2, candidates));
    }
  }
}

TEST(BeamCandidatesCuda, ASentencesBitsDoNotDependOnItsNeighbours) {
  FLOE_NEEDS_CUDA();
  expect_sentences_alone(9001, {0, 7, 49});
}

// ---- search_penalties

OpCase penalties_case(int64_t vocabulary, int64_t beam, int64_t capacity, int64_t ids) {
  const int64_t rows = 3 * beam;
  return {"search_penalties",
          {CaseInput::normal({rows, vocabulary}), CaseInput::integers({rows + 2, capacity}, 0, ids),
           CaseInput::integers({rows}, 0, capacity + 1), CaseInput::uniform({3}, 0.5, 2),
           CaseInput::integers({3}, 0, 4), CaseInput::integers({3}, 0, capacity),
           CaseInput::integers({3, 3}, -1, vocabulary), CaseInput::integers({3, 40}, -1, vocabulary + 9),
           ints({3}, {-1, static_cast<int32_t>(vocabulary - 1), -1})},
          {{"beam", beam}}};
}

TEST(SearchPenaltiesCuda, MatchTheReferenceOverSeveralSlices) {
  FLOE_NEEDS_CUDA();
  for (const int64_t vocabulary : {4096, 4097, 10007, 32768}) {
    for (const int64_t beam : {1, 4}) check_kernel(penalties_case(vocabulary, beam, 60, vocabulary));
  }
}

TEST(SearchPenaltiesCuda, MatchTheReferenceForLongHistoriesOfFewIds) {
  FLOE_NEEDS_CUDA();
  check_kernel(penalties_case(5000, 2, 3000, 900));
  check_kernel(penalties_case(50, 2, 3000, 50));
}

TEST(SearchPenaltiesCuda, OverTheInputGiveTheSameBits) {
  FLOE_NEEDS_CUDA();
  OpCase c = penalties_case(5000, 2, 3000, 900);
  const std::vector<RefTensor> values = case_inputs(c);
  for (size_t k = 0; k < values.size(); ++k) {
    Tensor tensor(c.inputs[k].dtype, c.inputs[k].shape);
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const auto at = static_cast<size_t>(i);
      tensor.set(i, is_float(tensor.dtype()) ? values[k].f[at] : static_cast<double>(values[k].i[at]));
    }
    c.inputs[k] = CaseInput::of(std::move(tensor));
  }
  const auto beside = run_kernel(c);
  const auto over = run_over_input(c, {View(nullptr, DType::f32, c.inputs[0].shape)});
  EXPECT_EQ(0, std::memcmp(beside[0].data(), over[0].data(), beside[0].bytes()));
}

TEST(SearchPenaltiesCuda, ALengthBeyondTheHistoryReadsNothingOutside) {
  FLOE_NEEDS_CUDA();
  const auto out =
      run_kernel({"search_penalties",
                  {floats({1, 4}, {1, 2, 3, 4}), ints({1, 2}, {0, 1}), ints({1}, {1000}), floats({1}, {2}),
                   ints({1}, {1}), ints({1}, {0}), ints({1, 0}, {}), ints({1, 0}, {}), ints({1}, {-1})},
                  {{"beam", int64_t{1}}}});
  EXPECT_EQ(out[0].at(0), -kInf);
  EXPECT_EQ(out[0].at(1), -kInf);
  EXPECT_EQ(out[0].at(2), 3);
  EXPECT_EQ(out[0].at(3), 4);
}

// ---- beam_advance, beam_rows

TEST(BeamAdvanceCuda, MatchesTheReferenceBeyondAWarp) {
  FLOE_NEEDS_CUDA();
  for (uint64_t seed = 1; seed < 6; ++seed) {
    for (const auto& [width, beam] : {std::pair{31, 16}, {32, 16}, {33, 5}, {70, 33}, {200, 100}, {20, 40}}) {
      OpCase c{"beam_advance",
               {CaseInput::normal({9, width}), CaseInput::integers({9, width}, -1, 5),
                CaseInput::integers({9, width}, 0, beam), CaseInput::integers({9, 2}, -1, 5),
                CaseInput::integers({9}, 0, 3)},
               {{"beam_in", int64_t{beam}}, {"beam", int64_t{beam}}}};
      c.seed = seed;
      check_kernel(c);
    }
  }
}

OpCase rows_case(int64_t lines, int64_t width, int64_t rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&](Shape shape, int64_t low, int64_t high) {
    Tensor t(DType::i32, std::move(shape));
    for (int64_t i = 0; i < t.size(); ++i) {
      t.set(i, static_cast<double>(std::uniform_int_distribution<int64_t>(low, high)(random)));
    }
    return CaseInput::of(std::move(t));
  };
  return {"beam_rows",
          {draw({lines, width}, 0, 1 << 30), draw({rows}, 0, lines - 1), draw({rows}, -1, width),
           draw({rows}, 0, 1 << 30)}};
}

TEST(BeamRowsCuda, MatchTheReferenceForManyRows) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {1, 7, 8, 9, 70}) {
    check_kernel(rows_case(1030, width, 1024, 1));
    check_kernel(rows_case(5, width, 1, 2));
  }
  check_kernel(rows_case(70000, 3, 3, 3));
}

TEST(BeamRowsCuda, PermuteLinesInPlace) {
  FLOE_NEEDS_CUDA();
  const OpCase c = rows_case(600, 37, 512, 4);
  const auto beside = run_kernel(c);
  const auto over =
      run_over_input(c, {View(nullptr, DType::i32, {600, 37}), View(nullptr, DType::i32, {512, 37})});
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_EQ(0, std::memcmp(beside[k].data(), over[k].data(), beside[k].bytes()));
  }
}

TEST(BeamRowsCuda, ARowThatIsNotThereGivesMinusOne) {
  FLOE_NEEDS_CUDA();
  const auto out = run_kernel(
      {"beam_rows", {ints({2, 2}, {5, 6, 7, 8}), ints({2}, {2, -9}), ints({2}, {0, -1}), ints({2}, {3, 4})}});
  std::vector<double> current;
  for (int64_t i = 0; i < 4; ++i) current.push_back(out[1].at(i));
  EXPECT_THAT(current, testing::ElementsAre(3, -1, -1, -1));
}

}  // namespace
}  // namespace floe

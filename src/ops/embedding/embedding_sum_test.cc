#include "ops/embedding/embedding_sum.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/all.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase case_of(int64_t d, double scale, DType type, DType out) {
  return {"embedding_sum",
          {CaseInput::normal({9, d}, type), CaseInput::integers({3, 5}, 0, 9),
           CaseInput::normal({4, d}, type), CaseInput::integers({3, 5}, 0, 4)},
          {{"scale", scale}, {"out", out}}};
}

TEST(EmbeddingSum, MeansTwoEmbeddingsAndTheirSum) {
  const OpCase c = case_of(6, 2.5, DType::f32, DType::f32);
  const std::vector<RefTensor> in = case_inputs(c);
  const RefTensor got = reference(c)[0];
  ASSERT_EQ(got.shape, (Shape{3, 5, 6}));
  for (size_t at = 0; at < 15; ++at) {
    for (size_t j = 0; j < 6; ++j) {
      const double want = in[0].f[static_cast<size_t>(in[1].i[at]) * 6 + j] * 2.5 +
                          in[2].f[static_cast<size_t>(in[3].i[at]) * 6 + j];
      EXPECT_NEAR(got.f[at * 6 + j], want, 1e-12);
    }
  }
}

TEST(EmbeddingSum, ItsMeaningHasAGradient) {
  check_gradient(case_of(3, 2, DType::f32, DType::f32));
  check_gradient(case_of(3, 1, DType::f32, DType::f32));
}

TEST(EmbeddingSum, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  int inputs = 0;
  const auto in = [&](Dims dims, DType type) {
    return b.input("x" + std::to_string(inputs++), {type, std::move(dims)});
  };
  const EmbeddingSumArgs good{.table = in({9, 4}, DType::f32),
                              .ids = in({2, 3}, DType::i32),
                              .added_table = in({5, 4}, DType::bf16),
                              .added_ids = in({2, 3}, DType::i32)};
  EXPECT_EQ(text_of(b.type(embedding_sum(b, good))), "f32[2, 3, 4]");
  const auto refusal = [&](const EmbeddingSumArgs& args) -> std::string {
    try {
      embedding_sum(b, args);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EmbeddingSumArgs bad = good;
  bad.added_table = in({5, 6}, DType::f32);
  EXPECT_EQ(refusal(bad),
            "[embedding_sum] both tables must have rows of one length, got f32[9, 4] and f32[5, 6]");
  bad = good;
  bad.added_ids = in({2, 4}, DType::i32);
  EXPECT_EQ(refusal(bad), "[embedding_sum] ids must be i32 of one shape, got i32[2, 3] and i32[2, 4]");
  bad = good;
  bad.ids = in({2, 3}, DType::f32);
  EXPECT_EQ(refusal(bad), "[embedding_sum] ids must be i32 of one shape, got f32[2, 3] and i32[2, 3]");
  bad = good;
  bad.out = DType::i32;
  EXPECT_EQ(refusal(bad), "[embedding_sum] out must be a floating type, is i32");
}

// The product and the sum are rounded each: one unit of the larger of both at most, and once more to bf16.
TEST(EmbeddingSumCuda, HasTheReferencesValues) {
  FLOE_NEEDS_CUDA();
  for (const int64_t d : {1, 6, 64, 512, 1023}) {
    for (const double scale : {1.0, std::sqrt(512.0)}) {
      check_kernel(case_of(d, scale, DType::f32, DType::f32));
      for (const DType out : {DType::f32, DType::bf16}) {
        OpCase c = case_of(d, scale, DType::bf16, out);
        if (out == DType::bf16) c.ulps = 2;
        check_kernel(c);
      }
    }
  }
}

TEST(EmbeddingSumCuda, GivesTheBitsOfItsMeaning) {
  FLOE_NEEDS_CUDA();
  const double factor = static_cast<float>(std::sqrt(512.0));
  const OpCase c = case_of(512, factor, DType::bf16, DType::f32);
  const Tensor got = std::move(run_kernel(c)[0]);
  const Tensor tokens = std::move(run_kernel({"embedding", {c.inputs[0], c.inputs[1]}})[0]);
  const std::vector<RefTensor> in = case_inputs(c);
  for (int64_t i = 0; i < got.size(); ++i) {
    const auto row = static_cast<size_t>(in[3].i[static_cast<size_t>(i / 512)]);
    const auto scaled = static_cast<float>(static_cast<double>(tokens.at(i)) * factor);
    ASSERT_EQ(got.at(i), static_cast<float>(
                             scaled + static_cast<float>(in[2].f[row * 512 + static_cast<size_t>(i % 512)])))
        << i;
  }
}

TEST(EmbeddingSumCuda, GivesNanForIdsOutside) {
  FLOE_NEEDS_CUDA();
  OpCase c = case_of(8, 2, DType::bf16, DType::bf16);
  c.inputs[1] = CaseInput::of(Tensor::from_ints({3, 1}, {9, -1, 2}));
  c.inputs[3] = CaseInput::of(Tensor::from_ints({3, 1}, {0, 1, 4}));
  const Tensor got = std::move(run_kernel(c)[0]);
  for (int64_t i = 0; i < got.size(); ++i) EXPECT_TRUE(std::isnan(got.at(i))) << i;
}

}  // namespace
}  // namespace floe

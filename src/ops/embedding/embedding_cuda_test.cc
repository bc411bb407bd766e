// What only the GPU's kernels have: 2-byte tables, runs of one id that are cut into chunks, ids outside the
// table.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

// dy holds small whole numbers: their sums are exact in f32, so a row lost or taken twice cannot hide.
OpCase gradient(Tensor ids, int64_t rows, int64_t d, DType dtype) {
  Shape dy = ids.shape();
  dy.push_back(d);
  OpCase c{"embedding_grad",
           {CaseInput::of(std::move(ids)), CaseInput::integers(dy, -4, 5, dtype)},
           {{"rows", Dims{rows}}}};
  c.ulps = dtype == DType::f32 ? 0 : 2;  // one rounding from f32
  return c;
}

// A share of the positions holds id 0, some a frequent one, the rest anything.
Tensor skewed_ids(int64_t n, int64_t rows, double padding) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> uniform;
  Tensor ids(DType::i32, {n});
  for (int64_t i = 0; i < n; ++i) {
    const double u = uniform(random);
    const auto any = static_cast<int64_t>(random() % static_cast<uint64_t>(rows));
    ids.set(i, static_cast<double>(u < padding ? 0 : u < padding + 0.1 ? rows / 2 : any));
  }
  return ids;
}

TEST(EmbeddingCuda, TakesRowsOfEveryWidth) {
  FLOE_NEEDS_CUDA();
  for (const int64_t d : {1, 2, 3, 4, 6, 8, 24, 512, 1023}) {
    for (const DType dtype : {DType::bf16, DType::f32}) {
      OpCase c{"embedding", {CaseInput::normal({300, d}, dtype), CaseInput::integers({7, 11}, 0, 300)}};
      c.ulps = 0;
      check_kernel(c);
    }
  }
}

TEST(EmbeddingCuda, AnIdOutsideTheTableGivesNan) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    OpCase c{"embedding",
             {CaseInput::normal({8, 6}, dtype), CaseInput::of(Tensor::from_ints({3}, {7, 8, -1}))}};
    const std::vector<Tensor> y = run_kernel(c);
    for (int64_t i = 0; i < 6; ++i) EXPECT_FALSE(std::isnan(y[0].at(i)));
    for (int64_t i = 6; i < 18; ++i) EXPECT_TRUE(std::isnan(y[0].at(i)));
  }
}

TEST(EmbeddingCuda, AnIdOutsideTheTableAddsToNoRow) {
  FLOE_NEEDS_CUDA();
  OpCase c = gradient(Tensor::from_ints({5}, {3, -2, 1, 4, 3}), 4, 2, DType::f32);
  c.inputs[1] = CaseInput::of(Tensor::from_floats({5, 2}, {1, 2, 10, 20, 3, 4, 10, 20, 5, 6}));
  const std::vector<Tensor> got = run_kernel(c);
  const float want[] = {0, 0, 3, 4, 0, 0, 6, 8};
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(got[0].at(i), want[i]) << i;
}

TEST(EmbeddingCuda, AddsLongRunsInChunks) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const double padding : {0.0, 0.3, 0.9}) {
      SCOPED_TRACE(padding);
      check_kernel(gradient(skewed_ids(5000, 700, padding), 700, 64, dtype));
      check_kernel(gradient(skewed_ids(333, 1000, padding), 1000, 33, dtype));
    }
    check_kernel(gradient(Tensor(DType::i32, {4096}), 3, 16, dtype));  // one id alone
    check_kernel(gradient(Tensor(DType::i32, {31}), 1, 8, dtype));
    check_kernel(gradient(Tensor(DType::i32, {32}), 1, 8, dtype));
    check_kernel(gradient(Tensor(DType::i32, {65}), 1, 8, dtype));
  }
}

// Chunks longer than 32 and a table of many blocks.
TEST(EmbeddingCuda, TakesManyPositionsAndALargeTable) {
  FLOE_NEEDS_CUDA();
  check_kernel(gradient(skewed_ids(200000, 64000, 0.3), 64000, 8, DType::f32));
}

}  // namespace
}  // namespace floe

// What only the GPU's kernels have: 2-byte caches, many rows, beams, tables that name blocks that are not
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "ops/paged_attention/paged_attention.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

struct Sizes {
  int64_t rows = 3, queries = 1, heads = 4, key_heads = 4, width = 64, value_width = 64, block = 16;
  std::vector<int32_t> lengths = {};  // random where empty
  int64_t longest = 100;
  bool causal = true;
  DType dtype = DType::bf16;
};

// A cache in which every row has blocks of its own, in shuffled order. Positions beyond a row's length hold
// NaN.
OpCase make(const Sizes& s) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  std::vector<int32_t> lengths = s.lengths;
  for (int64_t r = static_cast<int64_t>(lengths.size()); r < s.rows; ++r) {
    lengths.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(s.longest + 1)));
  }
  const int64_t width = (s.longest + s.block - 1) / s.block + 1;
  Tensor q(s.dtype, {s.rows, s.queries, s.heads, s.width});
  Tensor k(s.dtype, {s.rows * width, s.block, s.key_heads, s.width});
  Tensor v(s.dtype, {s.rows * width, s.block, s.key_heads, s.value_width});
  Tensor table(DType::i32, {s.rows, width});
  std::vector<int32_t> order(static_cast<size_t>(s.rows * width));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::shuffle(order.begin(), order.end(), random);
  for (int64_t i = 0; i < q.size(); ++i) q.set(i, normal(random));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int64_t r = 0; r < s.rows; ++r) {
    for (int64_t t = 0; t < width; ++t) {
      const int32_t slot = order[static_cast<size_t>(r * width + t)];
      table.as<int32_t>()[r * width + t] = slot;
      for (int64_t p = 0; p < s.block; ++p) {
        const bool there = t * s.block + p < lengths[static_cast<size_t>(r)];
        const int64_t at = (slot * s.block + p) * s.key_heads;
        for (int64_t i = 0; i < s.key_heads * s.width; ++i)
          k.set(at * s.width + i, there ? normal(random) : nan);
        for (int64_t i = 0; i < s.key_heads * s.value_width; ++i) {
          v.set(at * s.value_width + i, there ? normal(random) : nan);
        }
      }
    }
  }
  return {"paged_attention",
          {CaseInput::of(std::move(q)), CaseInput::of(std::move(k)), CaseInput::of(std::move(v)),
           CaseInput::of(std::move(table)), CaseInput::of(Tensor::from_ints({s.rows}, lengths))},
          {{"scale", 1 / std::sqrt(static_cast<double>(s.width))}, {"causal", s.causal}}};
}

// Everything is computed in f32 from exact inputs and rounded once, by up to 2^-8 of itself in bf16 and 2^-11
// in f16: one unit, and a hundredth for f32's own error.
void check(const Sizes& s) {
  SCOPED_TRACE("R" + std::to_string(s.rows) + " Sq" + std::to_string(s.queries) + " H" +
               std::to_string(s.heads) + "/" + std::to_string(s.key_heads) + " D" + std::to_string(s.width) +
               "/" + std::to_string(s.value_width) + " block " + std::to_string(s.block) + " longest " +
               std::to_string(s.longest));
  OpCase c = make(s);
  c.ulps = s.dtype == DType::f32 ? 64 : 1.01;
  check_kernel(c);
}

TEST(PagedAttentionCuda, HasTheReferencesValuesWithTwoByteCaches) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t block : {1, 16}) {
      for (const int64_t queries : {1, 3}) {
        for (const bool causal : {false, true}) {
          check({.rows = 5,
                 .queries = queries,
                 .block = block,
                 .lengths = {100, 0, 1, 64, 65},
                 .causal = causal,
                 .dtype = dtype});
        }
      }
    }
  }
}

TEST(PagedAttentionCuda, TakesEveryHeadSize) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const auto& [width, value_width] : std::vector<std::pair<int64_t, int64_t>>{
             {8, 8}, {32, 64}, {72, 24}, {128, 128}, {256, 256}, {17, 33}, {64, 65}, {1, 1}, {320, 512}}) {
      check({.rows = 2,
             .heads = 2,
             .key_heads = 1,
             .width = width,
             .value_width = value_width,
             .dtype = dtype});
    }
  }
}

// Lengths on both sides of a round of keys of every head size, as many queries and heads as decoding has.
TEST(PagedAttentionCuda, DecodesEveryHeadSizeLengthAndBlock) {
  FLOE_NEEDS_CUDA();
  int64_t at = 0;
  for (const int64_t width : {8, 32, 40, 64, 128, 256}) {
    for (const int64_t block : {1, 16}) {
      for (const bool causal : {false, true}) {
        check({.rows = 8,
               .queries = 1 + (at + 2 * (block == 1) + causal) % 4,
               .heads = 4,
               .key_heads = 2,
               .width = width,
               .value_width = width,
               .block = block,
               .lengths = {0, 1, 3, 17, 63, 64, 65, 300},
               .longest = 300,
               .causal = causal});
      }
    }
    ++at;
  }
}

TEST(PagedAttentionCuda, DecodesMoreThan65535Rows) {
  FLOE_NEEDS_CUDA();
  check({.rows = 70000, .heads = 1, .key_heads = 1, .width = 8, .value_width = 8, .block = 1, .longest = 3});
}

// Scores of -inf alone give 0, and the places of keys that are not there must not make them NaN.
TEST(PagedAttentionCuda, KeepsInfiniteScoresApartFromKeysThatAreNotThere) {
  FLOE_NEEDS_CUDA();
  OpCase c = make({.rows = 3, .heads = 1, .key_heads = 1, .lengths = {5, 5, 5}, .longest = 16});
  std::vector<RefTensor> inputs = case_inputs(c);
  RefTensor& q = inputs[0];
  RefTensor& k = inputs[1];
  for (size_t i = 0; i < k.f.size(); i += 64) k.f[i] = -std::fabs(k.f[i]) - 1;
  q.f[0] = std::numeric_limits<double>::infinity();
  q.f[64] = std::numeric_limits<double>::quiet_NaN();
  for (const size_t i : {0, 1}) c.inputs[i] = CaseInput::of(tensor_of(inputs[i]));
  c.ulps = 1.01;
  check_kernel(c);
  const std::vector<Tensor> out = run_kernel(c);
  for (int64_t i = 0; i < 64; ++i) {
    ASSERT_EQ(out[0].at(i), 0) << i;
    ASSERT_TRUE(std::isnan(out[0].at(64 + i))) << i;
    ASSERT_FALSE(std::isnan(out[0].at(128 + i))) << i;
  }
}

// The same positions as blocks of 16 and of 1, the second with a wider table whose tail names nothing.
TEST(PagedAttentionCuda, GivesTheSameBitsHoweverTheCacheIsCut) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kTail = 7;
  const OpCase sixteen = make({.rows = 3, .queries = 2, .key_heads = 2, .lengths = {90, 3, 64}});
  OpCase one = sixteen;
  std::vector<RefTensor> inputs = case_inputs(sixteen);
  for (const size_t k : {1, 2}) {
    inputs[k].shape[0] *= 16;
    inputs[k].shape[1] = 1;
    one.inputs[k] = CaseInput::of(tensor_of(inputs[k]));
  }
  const int64_t entries = inputs[3].shape[1];
  std::vector<int32_t> table;
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t p = 0; p < entries * 16; ++p) {
      const auto slot = static_cast<int32_t>(inputs[3].i[static_cast<size_t>(r * entries + p / 16)]);
      table.push_back(slot * 16 + static_cast<int32_t>(p % 16));
    }
    table.insert(table.end(), kTail, std::numeric_limits<int32_t>::min());
  }
  one.inputs[3] = CaseInput::of(Tensor::from_ints({3, entries * 16 + kTail}, table));
  const std::vector<Tensor> want = run_kernel(sixteen);
  const std::vector<Tensor> got = run_kernel(one);
  ASSERT_EQ(got[0].bytes(), want[0].bytes());
  EXPECT_EQ(std::memcmp(got[0].data(), want[0].data(), got[0].bytes()), 0);
}

TEST(PagedAttentionCuda, PacksTheHeadsAndQueriesThatShareKeys) {
  FLOE_NEEDS_CUDA();
  check({.heads = 8, .key_heads = 2});
  check({.heads = 32, .key_heads = 4});
  check({.queries = 8, .heads = 6, .key_heads = 2});
  check({.queries = 37, .heads = 3, .key_heads = 1});
}

TEST(PagedAttentionCuda, WalksLongCachesInSeveralRounds) {
  FLOE_NEEDS_CUDA();
  check({.rows = 2, .heads = 2, .key_heads = 2, .lengths = {1500, 1025}, .longest = 1500});
  check({.rows = 2, .heads = 2, .key_heads = 1, .lengths = {700, 513}, .longest = 700, .dtype = DType::f32});
}

TEST(PagedAttentionCuda, TakesTheRowsOfABeamSearch) {
  FLOE_NEEDS_CUDA();
  check({.rows = 1024, .heads = 8, .key_heads = 8, .block = 1, .longest = 24});
}

TEST(PagedAttentionCuda, TakesMoreThan65535RowsTimesHeads) {
  FLOE_NEEDS_CUDA();
  check({.rows = 8200, .heads = 8, .key_heads = 8, .width = 8, .value_width = 8, .block = 1, .longest = 3});
}

TEST(PagedAttentionCuda, GivesARowTheSameBitsBesideAnyOthers) {
  FLOE_NEEDS_CUDA();
  const OpCase all = make({.rows = 4, .lengths = {90, 3, 0, 70}});
  const std::vector<Tensor> want = run_kernel(all);
  for (int64_t r = 0; r < 4; ++r) {
    OpCase alone = all;
    const std::vector<RefTensor> inputs = case_inputs(all);
    for (const size_t k : {0, 3, 4}) {
      RefTensor row = inputs[k];
      const int64_t size = row.size() / 4;
      row.shape[0] = 1;
      if (is_float(row.dtype)) {
        row.f = {row.f.begin() + r * size, row.f.begin() + (r + 1) * size};
      } else {
        row.i = {row.i.begin() + r * size, row.i.begin() + (r + 1) * size};
      }
      alone.inputs[k] = CaseInput::of(tensor_of(row));
    }
    const std::vector<Tensor> got = run_kernel(alone);
    EXPECT_EQ(std::memcmp(got[0].data(), want[0].as<char>() + static_cast<size_t>(r) * got[0].bytes(),
                          got[0].bytes()),
              0)
        << "row " << r;
  }
}

// A GPU's kernel cannot throw: the row that asks for what is not there becomes NaN, and no other.
TEST(PagedAttentionCuda, GivesNanWhereTheTableNamesNoBlock) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {64, 6}) {  // through shared memory and not
    OpCase c = make({.rows = 3, .width = width, .value_width = width, .lengths = {40, 40, 40}});
    RefTensor table = case_inputs(c)[3];
    const auto entries = static_cast<size_t>(table.shape[1]);
    table.i[entries + 1] = -1;
    table.i[2 * entries + 2] = table.shape[0] * table.shape[1];
    c.inputs[3] = CaseInput::of(tensor_of(table));
    const std::vector<Tensor> out = run_kernel(c);
    for (int64_t i = 0; i < out[0].size(); ++i) {
      ASSERT_EQ(std::isnan(out[0].at(i)), i >= out[0].size() / 3) << i;
    }
    OpCase longer =
        make({.rows = 2, .width = width, .value_width = width, .lengths = {40, 40}, .longest = 40});
    longer.inputs[4] = CaseInput::of(Tensor::from_ints({2}, {40, 1000}));
    const std::vector<Tensor> beyond = run_kernel(longer);
    for (int64_t i = 0; i < beyond[0].size(); ++i) {
      ASSERT_EQ(std::isnan(beyond[0].at(i)), i >= beyond[0].size() / 2) << i;
    }
  }
}

}  // namespace
}  // namespace floe

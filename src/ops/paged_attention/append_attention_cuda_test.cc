// What only the GPU has: the kernel of append_attention beside the two ops that it means.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

struct Sizes {
  int64_t heads = 4, key_heads = 4, width = 64, value_width = 64, block = 1;
  std::vector<int32_t> lengths = {5, 1, 64, 65};  // with the new position; 0: a finished row
  DType dtype = DType::bf16;
};

// Every row has blocks of its own, in shuffled order; what nobody has written is NaN. The new key of a row is
// its last.
OpCase make(const Sizes& s) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  const auto rows = static_cast<int64_t>(s.lengths.size());
  const int64_t longest = *std::max_element(s.lengths.begin(), s.lengths.end());
  const int64_t width = (longest + s.block - 1) / s.block + 1;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<int32_t> order(static_cast<size_t>(rows * width));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::shuffle(order.begin(), order.end(), random);
  Tensor table(DType::i32, {rows, width});
  std::vector<int32_t> positions;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t length = s.lengths[static_cast<size_t>(r)];
    positions.push_back(std::max(length - 1, 0));
    for (int64_t t = 0; t < width; ++t)
      table.as<int32_t>()[r * width + t] = length == 0 ? -1 : order[static_cast<size_t>(r * width + t)];
  }
  const auto cache = [&](int64_t features) {
    Tensor made(s.dtype, {rows * width, s.block, s.key_heads, features});
    for (int64_t i = 0; i < made.size(); ++i) made.set(i, nan);
    for (int64_t r = 0; r < rows; ++r) {
      for (int32_t t = 0; t + 1 < s.lengths[static_cast<size_t>(r)]; ++t) {
        const int64_t slot = table.as<int32_t>()[r * width + t / s.block];
        for (int64_t i = 0; i < s.key_heads * features; ++i)
          made.set((slot * s.block + t % s.block) * s.key_heads * features + i, normal(random));
      }
    }
    return CaseInput::of(std::move(made));
  };
  CaseInput k_cache = cache(s.width), v_cache = cache(s.value_width);
  OpCase c{"append_attention",
           {CaseInput::normal({rows, 1, s.heads, s.width}, s.dtype),
            CaseInput::normal({rows, 1, s.key_heads, s.width}, s.dtype),
            CaseInput::normal({rows, 1, s.key_heads, s.value_width}, s.dtype), std::move(k_cache),
            std::move(v_cache), CaseInput::of(std::move(table)),
            CaseInput::of(Tensor::from_ints({rows}, positions)),
            CaseInput::of(Tensor::from_ints({rows}, s.lengths))},
           {{"scale", 1 / std::sqrt(static_cast<double>(s.width))}, {"causal", true}}};
  c.ulps = 1.01;  // rounded once from f32, and a hundredth for f32's own error
  return c;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

// The kernels of the two ops, one after the other.
void expect_bits_of_two(OpCase c) {
  // The very same numbers for all three: what is drawn depends on a case's list of inputs.
  const std::vector<RefTensor> drawn = case_inputs(c);
  for (size_t i = 0; i < drawn.size(); ++i) c.inputs[i] = CaseInput::of(tensor_of(drawn[i]));
  const std::vector<Tensor> got = run_kernel(c);
  std::vector<Tensor> caches;
  for (const size_t i : {3, 4}) {
    caches.push_back(
        std::move(run_kernel({"cache_append", {c.inputs[i], c.inputs[i - 2], c.inputs[5], c.inputs[6]}})[0]));
    EXPECT_TRUE(same_bits(got[i - 2], caches.back())) << "cache " << i - 3;
  }
  OpCase attention{"paged_attention",
                   {c.inputs[0], CaseInput::of(std::move(caches[0])), CaseInput::of(std::move(caches[1])),
                    c.inputs[5], c.inputs[7]},
                   c.attrs};
  EXPECT_TRUE(same_bits(got[0], run_kernel(attention)[0]));
}

TEST(AppendAttentionCuda, HasTheReferencesValues) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t block : {1, 16}) {
      for (const int64_t key_heads : {4, 2, 1}) {
        check_kernel(make(
            {.key_heads = key_heads, .block = block, .lengths = {5, 0, 1, 64, 65, 2, 130}, .dtype = dtype}));
      }
    }
  }
}

// 20 and 24 beside 16 features: by the general kernel, after a copy of its own.
TEST(AppendAttentionCuda, TakesEveryHeadSize) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {8, 32, 40, 64, 128, 256, 20, 320})
    check_kernel(make({.heads = 2, .key_heads = 1, .width = width, .value_width = width}));
  check_kernel(make({.heads = 2, .key_heads = 1, .width = 24, .value_width = 16}));
}

TEST(AppendAttentionCuda, GivesTheBitsOfTheTwoOneAfterTheOther) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {32, 64, 128, 20}) {
    for (const int64_t block : {1, 4})
      expect_bits_of_two(make(
          {.key_heads = 2, .width = width, .value_width = width, .block = block, .lengths = {9, 0, 1, 65}}));
  }
}

// A row's position may be one that it does not see, and the table may not have it; the cache is written by
// the same rule as cache_append's.
TEST(AppendAttentionCuda, WritesWhatTheRowDoesNotSeeAndLeavesOutWhatLiesOutside) {
  FLOE_NEEDS_CUDA();
  for (const std::vector<int32_t>& positions :
       std::vector<std::vector<int32_t>>{{4, 2, 5, 0}, {-1, 1000, 5, 3}}) {
    OpCase c = make({.lengths = {5, 1, 6, 4}});
    c.inputs[6] = CaseInput::of(Tensor::from_ints({4}, positions));
    expect_bits_of_two(c);
  }
  OpCase c = make({.lengths = {5, 1, 6, 4}});
  c.inputs[7] = CaseInput::of(Tensor::from_ints({4}, {5, 0, 6, 0}));
  expect_bits_of_two(c);
}

TEST(AppendAttentionCuda, GivesARowTheSameBitsBesideAnyOthers) {
  FLOE_NEEDS_CUDA();
  const OpCase all = make({.lengths = std::vector<int32_t>(1024, 40)});
  const std::vector<Tensor> want = run_kernel(all);
  for (const int64_t rows : {1, 8, 64}) {
    OpCase part = all;
    for (const size_t i : {0, 1, 2, 5, 6, 7}) {
      RefTensor cut = case_inputs(all)[i];
      const auto size = static_cast<size_t>(cut.size() / 1024 * rows);
      cut.shape[0] = rows;
      if (is_float(cut.dtype)) {
        cut.f.resize(size);
      } else {
        cut.i.resize(size);
      }
      part.inputs[i] = CaseInput::of(tensor_of(cut));
    }
    const std::vector<Tensor> got = run_kernel(part);
    EXPECT_EQ(std::memcmp(got[0].data(), want[0].data(), got[0].bytes()), 0) << rows << " rows";
  }
}

}  // namespace
}  // namespace floe

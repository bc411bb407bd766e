#include "ops/paged_attention/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

struct Sizes {
  int64_t queries = 1, heads = 4, key_heads = 2, width = 16, value_width = 16, block = 16;
  std::vector<int32_t> lengths = {70, 1, 33};
  bool causal = true;
};

// Keys and values by position, [R, longest, Hkv, .], and the same laid into a cache in shuffled order.
struct Paged {
  OpCase c;
  Tensor q, k, v;
};
Paged make(const Sizes& s) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  const auto rows = static_cast<int64_t>(s.lengths.size());
  const int64_t longest = *std::max_element(s.lengths.begin(), s.lengths.end());
  const auto draw = [&](const Shape& shape) {
    Tensor tensor(DType::f32, shape);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.as<float>()[i] = normal(random);
    return tensor;
  };
  Paged p{{},
          draw({rows, s.queries, s.heads, s.width}),
          draw({rows, longest, s.key_heads, s.width}),
          draw({rows, longest, s.key_heads, s.value_width})};
  const int64_t width = (longest + s.block - 1) / s.block + 1;
  Tensor table(DType::i32, {rows, width});
  std::fill_n(table.as<int32_t>(), table.size(), -1);
  std::vector<int32_t> free(static_cast<size_t>(rows * width));
  for (size_t i = 0; i < free.size(); ++i) free[i] = static_cast<int32_t>(i);
  std::shuffle(free.begin(), free.end(), random);
  Tensor k_cache(DType::f32, {rows * width, s.block, s.key_heads, s.width});
  Tensor v_cache(DType::f32, {rows * width, s.block, s.key_heads, s.value_width});
  std::fill_n(k_cache.as<float>(), k_cache.size(), std::nanf(""));
  std::fill_n(v_cache.as<float>(), v_cache.size(), std::nanf(""));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < s.lengths[static_cast<size_t>(r)]; ++j) {
      int32_t& slot = table.as<int32_t>()[r * width + j / s.block];
      if (slot < 0) {
        slot = free.back();
        free.pop_back();
      }
      const auto copy = [&](const Tensor& from, Tensor& to, int64_t size) {
        std::memcpy(to.as<float>() + (slot * s.block + j % s.block) * s.key_heads * size,
                    from.as<float>() + (r * longest + j) * s.key_heads * size,
                    static_cast<size_t>(s.key_heads * size) * sizeof(float));
      };
      copy(p.k, k_cache, s.width);
      copy(p.v, v_cache, s.value_width);
    }
  }
  Tensor q(DType::f32, p.q.shape());
  std::memcpy(q.data(), p.q.data(), q.bytes());
  p.c = {"paged_attention",
         {CaseInput::of(std::move(q)), CaseInput::of(std::move(k_cache)), CaseInput::of(std::move(v_cache)),
          CaseInput::of(std::move(table)), CaseInput::of(Tensor::from_ints({rows}, s.lengths))},
         {{"scale", 0.25}, {"causal", s.causal}}};
  return p;
}

TEST(PagedAttention, HasTheReferencesValues) {
  for (const int64_t block : {1, 5, 16}) {
    for (const int64_t queries : {1, 3, 8}) {
      for (const bool causal : {false, true}) {
        check_kernel(make({.queries = queries,
                           .width = 20,
                           .value_width = 9,
                           .block = block,
                           .lengths = {70, 9, 0, 8, 129},
                           .causal = causal})
                         .c);
      }
    }
  }
  check_kernel(make({.heads = 7, .key_heads = 1, .lengths = {64, 65}}).c);
}

TEST(PagedAttention, DoesNotDependOnTheSizeOfBlocks) {
  for (const int64_t queries : {1, 4}) {
    const std::vector<Tensor> one = run_kernel(make({.queries = queries, .block = 1}).c);
    const std::vector<Tensor> sixteen = run_kernel(make({.queries = queries, .block = 16}).c);
    EXPECT_EQ(std::memcmp(one[0].data(), sixteen[0].data(), one[0].bytes()), 0);
  }
}

TEST(PagedAttention, GivesARowTheSameBitsWhateverLiesBesideIt) {
  const Sizes s{.lengths = {70, 1, 33}};
  const Paged all = make(s);
  const std::vector<Tensor> want = run_kernel(all.c);
  const std::vector<RefTensor> inputs = case_inputs(all.c);
  for (size_t r = 0; r < 3; ++r) {
    OpCase alone = all.c;
    for (const size_t k : {0, 3, 4}) {
      RefTensor row = inputs[k];
      const size_t size = static_cast<size_t>(row.size()) / 3;
      row.shape[0] = 1;
      if (is_float(row.dtype)) {
        row.f = {row.f.begin() + static_cast<int64_t>(r * size),
                 row.f.begin() + static_cast<int64_t>((r + 1) * size)};
      } else {
        row.i = {row.i.begin() + static_cast<int64_t>(r * size),
                 row.i.begin() + static_cast<int64_t>((r + 1) * size)};
      }
      alone.inputs[k] = CaseInput::of(tensor_of(row));
    }
    for (const size_t k : {1, 2}) alone.inputs[k] = CaseInput::of(tensor_of(inputs[k]));
    alone.threads = 1;
    const std::vector<Tensor> got = run_kernel(alone);
    EXPECT_EQ(std::memcmp(got[0].data(), want[0].as<char>() + r * got[0].bytes(), got[0].bytes()), 0)
        << "row " << r;
  }
}

// Rows of one query that name the same keys are attended together; rows beside them keep theirs.
TEST(PagedAttention, GivesRowsThatShareTheirKeysTheBitsOfEachAlone) {
  for (const int64_t key_heads : {1, 2, 4}) {
    for (const int64_t copies : {2, 4, 7, 40}) {
      const Paged one = make({.key_heads = key_heads, .block = 8, .lengths = {70, 33}});
      const std::vector<RefTensor> inputs = case_inputs(one.c);
      RefTensor q = inputs[0], table = inputs[3], lengths = inputs[4];
      const auto width = static_cast<int64_t>(table.i.size()) / 2;
      const auto row = static_cast<int64_t>(q.f.size()) / 2;
      // Row 0 once, row 1 `copies` times with queries of their own, row 0 again.
      const auto line = [&](auto& to, const auto& from, int64_t size, int64_t r) {
        to.insert(to.end(), from.begin() + r * size, from.begin() + (r + 1) * size);
      };
      for (RefTensor* tensor : {&q, &table, &lengths}) tensor->shape[0] = copies + 2;
      q.f.clear();
      table.i.clear();
      lengths.i.clear();
      for (int64_t r = 0; r < copies + 2; ++r) {
        const int64_t of = r == 0 || r == copies + 1 ? 0 : 1;
        line(q.f, inputs[0].f, row, of);
        line(table.i, inputs[3].i, width, of);
        line(lengths.i, inputs[4].i, 1, of);
        if (of == 1) q.f[static_cast<size_t>(r * row)] += static_cast<double>(r);
      }
      OpCase all = one.c;
      all.inputs[0] = CaseInput::of(tensor_of(q));
      all.inputs[3] = CaseInput::of(tensor_of(table));
      all.inputs[4] = CaseInput::of(tensor_of(lengths));
      const std::vector<Tensor> together = run_kernel(all);
      for (int64_t r = 0; r < copies + 2; ++r) {
        OpCase alone = all;
        const auto cut = [&](const RefTensor& from) {
          RefTensor part = from;
          part.shape[0] = 1;
          part.f.clear();
          part.i.clear();
          const int64_t size = from.size() / (copies + 2);
          if (is_float(from.dtype)) {
            line(part.f, from.f, size, r);
          } else {
            line(part.i, from.i, size, r);
          }
          return CaseInput::of(tensor_of(part));
        };
        alone.inputs[0] = cut(q);
        alone.inputs[3] = cut(table);
        alone.inputs[4] = cut(lengths);
        const std::vector<Tensor> got = run_kernel(alone);
        EXPECT_EQ(std::memcmp(got[0].data(), together[0].as<char>() + static_cast<size_t>(r) * got[0].bytes(),
                              got[0].bytes()),
                  0)
            << key_heads << " key heads, " << copies << " copies, row " << r;
      }
    }
  }
}

// With a cache and without it: a step's query against all earlier keys is the last row of causal attention.
TEST(PagedAttention, GivesTheBitsOfAttention) {
  for (const int64_t queries : {1, 3, 7}) {
    for (const int32_t length : {7, 16, 64, 65, 150}) {
      Paged p = make({.queries = queries, .width = 24, .value_width = 20, .lengths = {length, length}});
      const std::vector<Tensor> paged = run_kernel(p.c);
      OpCase tail{
          "attention",
          {CaseInput::of(std::move(p.q)), CaseInput::of(std::move(p.k)), CaseInput::of(std::move(p.v))},
          {{"causal", std::string("bottom_right")}, {"scale", 0.25}, {"lengths", false}}};
      const std::vector<Tensor> whole = run_kernel(tail);
      EXPECT_EQ(std::memcmp(paged[0].data(), whole[0].data(), paged[0].bytes()), 0)
          << queries << " queries, length " << length;
    }
  }
}

TEST(PagedAttention, GivesTheBitsOfTheFullSquare) {
  constexpr int32_t kLength = 90;
  Paged p = make({.queries = 1, .width = 32, .value_width = 32, .lengths = {kLength}});
  const std::vector<Tensor> paged = run_kernel(p.c);
  const int64_t row = 4 * 32;
  Tensor queries(DType::f32, {1, kLength, 4, 32});
  for (int64_t i = 0; i < queries.size(); ++i) queries.as<float>()[i] = static_cast<float>(i % 13) - 6;
  std::memcpy(queries.as<float>() + (kLength - 1) * row, p.q.data(),
              static_cast<size_t>(row) * sizeof(float));
  OpCase square{
      "attention",
      {CaseInput::of(std::move(queries)), CaseInput::of(std::move(p.k)), CaseInput::of(std::move(p.v))},
      {{"causal", std::string("top_left")}, {"scale", 0.25}, {"lengths", false}}};
  const std::vector<Tensor> whole = run_kernel(square);
  EXPECT_EQ(std::memcmp(paged[0].data(), whole[0].as<float>() + (kLength - 1) * row, paged[0].bytes()), 0);
}

TEST(PagedAttention, RefusesBlocksThatAreNotThere) {
  FLOE_NEEDS_CPU();
  const auto message = [](const OpCase& c) {
    try {
      run_kernel(c);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  OpCase c = make({.lengths = {20, 3}}).c;
  c.inputs[4] = CaseInput::of(Tensor::from_ints({2}, {20, 17}));
  EXPECT_EQ(message(c), "[paged_attention] row 1: table names block -1 of 6");
  c.inputs[4] = CaseInput::of(Tensor::from_ints({2}, {20, 60}));
  EXPECT_EQ(message(c), "[paged_attention] row 1: length 60 is beyond its table of 3 blocks of 16");
}

}  // namespace
}  // namespace floe

#include "ops/paged_attention/append_attention.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

struct AppendAttentionTest : testing::Test {
  Graph graph{all_ops(), "g"};
  Builder b{graph};

  Value in(const char* name, Dims dims, DType dtype = DType::f32) {
    return b.input(name, {dtype, std::move(dims)});
  }
  AppendAttentionArgs args() {
    return {.q = in("q", {2, 1, 4, 8}),
            .k = in("k", {2, 1, 2, 8}),
            .v = in("v", {2, 1, 2, 6}),
            .k_cache = in("k_cache", {9, 3, 2, 8}),
            .v_cache = in("v_cache", {9, 3, 2, 6}),
            .table = in("table", {2, 5}, DType::i32),
            .positions = in("positions", {2}, DType::i32),
            .lengths = in("lengths", {2}, DType::i32),
            .scale = 0.5};
  }
  std::string refusal(const AppendAttentionArgs& made) {
    try {
      append_attention(b, made);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(AppendAttentionTest, GivesTheResultAndBothCaches) {
  const AppendAttention made = append_attention(b, args());
  EXPECT_EQ(text_of(b.type(made.out)), "f32[2, 1, 4, 6]");
  EXPECT_EQ(text_of(b.type(made.k_cache)), "f32[9, 3, 2, 8]");
  EXPECT_EQ(text_of(b.type(made.v_cache)), "f32[9, 3, 2, 6]");
}

TEST_F(AppendAttentionTest, RefusesWhatDoesNotFit) {
  const AppendAttentionArgs good = args();
  AppendAttentionArgs bad = good;
  bad.k = in("k2", {2, 2, 2, 8});
  EXPECT_EQ(refusal(bad),
            "[append_attention] q, k and v must be one position each of the same rows, got f32[2, 1, 4, 8], "
            "f32[2, 2, 2, 8] and f32[2, 1, 2, 6]");
  bad = good;
  bad.v = in("v2", {2, 1, 2, 8});
  EXPECT_EQ(refusal(bad),
            "[append_attention] v and its cache must agree in type, heads and head size, got f32[2, 1, 2, 8] "
            "and f32[9, 3, 2, 6]");
  bad = good;
  bad.q = in("q3", {2, 1, 4, 8}, DType::bf16);
  EXPECT_EQ(refusal(bad),
            "[append_attention] q, k_cache and v_cache must have one type, got bf16[2, 1, 4, 8], "
            "f32[9, 3, 2, 8] and f32[9, 3, 2, 6]");
  bad = good;
  bad.v_cache = in("v_cache4", {9, 4, 2, 6});
  EXPECT_EQ(refusal(bad),
            "[append_attention] k_cache and v_cache must agree in all but head size, got f32[9, 3, 2, 8] and "
            "f32[9, 4, 2, 6]");
  bad = good;
  bad.q = in("q5", {2, 1, 4, 7});
  EXPECT_EQ(refusal(bad),
            "[append_attention] q and k_cache must agree in head size, got f32[2, 1, 4, 7] and "
            "f32[9, 3, 2, 8]");
  bad = good;
  bad.q = in("q6", {2, 1, 3, 8});
  EXPECT_EQ(refusal(bad), "[append_attention] 3 query heads are no multiple of 2 key heads");
  bad = good;
  bad.table = in("table7", {3, 5}, DType::i32);
  EXPECT_EQ(refusal(bad), "[append_attention] table must be i32[2, T], got i32[3, 5]");
  bad = good;
  bad.positions = in("positions8", {2, 1}, DType::i32);
  EXPECT_EQ(refusal(bad), "[append_attention] positions must be i32[2], got i32[2, 1]");
  bad = good;
  bad.lengths = in("lengths9", {2});
  EXPECT_EQ(refusal(bad), "[append_attention] lengths must be i32[2], got f32[2]");
}

// What one gives after the other, in double. The second row is finished: it writes nowhere and sees nothing.
TEST(AppendAttention, MeansAppendingThenAttending) {
  const OpCase c{
      "append_attention",
      {CaseInput::normal({2, 1, 4, 8}), CaseInput::normal({2, 1, 2, 8}), CaseInput::normal({2, 1, 2, 6}),
       CaseInput::normal({9, 3, 2, 8}), CaseInput::normal({9, 3, 2, 6}),
       CaseInput::of(Tensor::from_ints({2, 2}, {4, 7, -1, -1})),
       CaseInput::of(Tensor::from_ints({2}, {3, 0})), CaseInput::of(Tensor::from_ints({2}, {4, 0}))},
      {{"scale", 0.5}, {"causal", true}}};
  const std::vector<RefTensor> in = case_inputs(c);
  const auto as = [](const RefTensor& x) { return CaseInput::of(tensor_of(x)); };
  const auto append = [&](size_t cache, size_t added) {
    return reference({"cache_append", {as(in[cache]), as(in[added]), as(in[5]), as(in[6])}})[0];
  };
  const RefTensor k = append(3, 1), v = append(4, 2);
  const RefTensor out = reference({"paged_attention",
                                   {as(in[0]), as(k), as(v), as(in[5]), as(in[7])},
                                   {{"scale", 0.5}, {"causal", true}}})[0];
  const std::vector<RefTensor> got = reference(c);
  EXPECT_EQ(got[0].f, out.f);
  EXPECT_EQ(got[1].f, k.f);
  EXPECT_EQ(got[2].f, v.f);
  // Block 7, its first position, is where row 0's fourth lies.
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(got[1].f[7 * 3 * 16 + i], in[1].f[i]);
}

}  // namespace
}  // namespace floe

#include "passes/append_attention.h"

#include <gtest/gtest.h>

#include "ir/evaluate.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"

namespace floe {
namespace {

Graph parsed(const std::string& statements) {
  return parse(all_ops(), "graph \"g\" {\n" + statements + "}\n");
}
bool always(const Graph&, const Node&) { return true; }

// Caches of three places, one head of one feature; two rows.
constexpr const char* kDoor = R"(  %0 = state {dims = <3, 1, 1, 1>, dtype = f32, name = "k"} : f32[3, 1, 1, 1]
  %1 = state {dims = <3, 1, 1, 1>, dtype = f32, name = "v"} : f32[3, 1, 1, 1]
  %2 = input {dims = <2, 1, 1, 1>, dtype = f32, name = "q"} : f32[2, 1, 1, 1]
  %3 = input {dims = <2, 1, 1, 1>, dtype = f32, name = "new_k"} : f32[2, 1, 1, 1]
  %4 = input {dims = <2, 1, 1, 1>, dtype = f32, name = "new_v"} : f32[2, 1, 1, 1]
  %5 = input {dims = <2, 2>, dtype = i32, name = "table"} : i32[2, 2]
  %6 = input {dims = <2>, dtype = i32, name = "positions"} : i32[2]
  %7 = input {dims = <2>, dtype = i32, name = "lengths"} : i32[2]
)";
constexpr const char* kPair =
    "  %8, %9 = cache_append_pair(%0, %3, %1, %4, %5, %6) : f32[3, 1, 1, 1], f32[3, 1, 1, 1]\n";
constexpr const char* kUpdates = "  update \"k\" = %8\n  update \"v\" = %9\n";

std::string with_attention(const std::string& attention, const std::string& updates = kUpdates) {
  return std::string(kDoor) + kPair + attention + updates;
}

TEST(AppendInAttention, JoinsTheTwo) {
  const Graph before =
      parsed(with_attention("  %10 = paged_attention(%2, %8, %9, %5, %7) {causal = true, scale = 0.5} : "
                            "f32[2, 1, 1, 1]\n",
                            std::string(kUpdates) + "  return \"y\" = %10\n"));
  const Graph after = append_in_attention(before, always);
  verify(after, "append_in_attention");
  EXPECT_EQ(
      print(after),
      print(parsed(
          std::string(kDoor) +
          R"(  %8, %9, %10 = append_attention(%2, %3, %4, %0, %1, %5, %6, %7) {causal = true, scale = 0.5} : f32[2, 1, 1, 1], f32[3, 1, 1, 1], f32[3, 1, 1, 1]
  update "k" = %9
  update "v" = %10
  return "y" = %8
)")));
  const RefMap inputs{{"q", ref_of(Tensor::from_floats({2, 1, 1, 1}, {1, -2}))},
                      {"new_k", ref_of(Tensor::from_floats({2, 1, 1, 1}, {5, 6}))},
                      {"new_v", ref_of(Tensor::from_floats({2, 1, 1, 1}, {7, 8}))},
                      {"table", ref_of(Tensor::from_ints({2, 2}, {0, 1, 0, 2}))},
                      {"positions", ref_of(Tensor::from_ints({2}, {1, 1}))},
                      {"lengths", ref_of(Tensor::from_ints({2}, {2, 2}))}};
  const RefTensor old = ref_of(Tensor::from_floats({3, 1, 1, 1}, {4, 0, 0}));
  const auto want = evaluate(before, inputs, {{"k", old}, {"v", old}});
  const auto got = evaluate(after, inputs, {{"k", old}, {"v", old}});
  EXPECT_EQ(got.outputs.at("y").f, want.outputs.at("y").f);
  EXPECT_EQ(got.updates.at("k").f, (std::vector<double>{4, 5, 6}));
  EXPECT_EQ(got.updates.at("v").f, (std::vector<double>{4, 7, 8}));
}

// Values may have been paired before keys.
TEST(AppendInAttention, TellsKeysFromValues) {
  const Graph after = append_in_attention(
      parsed(with_attention("  %10 = paged_attention(%2, %9, %8, %5, %7) {causal = true, scale = 0.5} : "
                            "f32[2, 1, 1, 1]\n",
                            std::string(kUpdates) + "  return \"y\" = %10\n")),
      always);
  EXPECT_EQ(
      print(after),
      print(parsed(
          std::string(kDoor) +
          R"(  %8, %9, %10 = append_attention(%2, %4, %3, %1, %0, %5, %6, %7) {causal = true, scale = 0.5} : f32[2, 1, 1, 1], f32[3, 1, 1, 1], f32[3, 1, 1, 1]
  update "k" = %10
  update "v" = %9
  return "y" = %8
)")));
}

TEST(AppendInAttention, LeavesWhatDoesNotGoTogether) {
  const auto unchanged = [](const std::string& statements, const auto& supported) {
    const Graph before = parsed(statements);
    EXPECT_EQ(print(append_in_attention(before, supported)), print(before));
  };
  const std::string attention =
      "  %10 = paged_attention(%2, %8, %9, %5, %7) {causal = true, scale = 0.5} : f32[2, 1, 1, 1]\n";
  const std::string result = std::string(kUpdates) + "  return \"y\" = %10\n";
  unchanged(with_attention(attention, result), [](const Graph&, const Node&) { return false; });
  // Another reader of a cache.
  unchanged(
      with_attention(attention + "  %11 = neg(%8) : f32[3, 1, 1, 1]\n", result + "  return \"z\" = %11\n"),
      always);
  // Another table.
  unchanged(with_attention("  %10 = add(%5, %5) : i32[2, 2]\n  %11 = paged_attention(%2, %8, %9, %10, %7) "
                           "{causal = true, scale = 0.5} : f32[2, 1, 1, 1]\n",
                           std::string(kUpdates) + "  return \"y\" = %11\n"),
            always);
  // The caches as they were.
  unchanged(with_attention("  %10 = paged_attention(%2, %0, %1, %5, %7) {causal = true, scale = 0.5} : "
                           "f32[2, 1, 1, 1]\n",
                           result),
            always);
  // Two positions a row.
  unchanged(R"(  %0 = state {dims = <3, 1, 1, 1>, dtype = f32, name = "k"} : f32[3, 1, 1, 1]
  %1 = state {dims = <3, 1, 1, 1>, dtype = f32, name = "v"} : f32[3, 1, 1, 1]
  %2 = input {dims = <1, 2, 1, 1>, dtype = f32, name = "q"} : f32[1, 2, 1, 1]
  %3 = input {dims = <1, 2>, dtype = i32, name = "table"} : i32[1, 2]
  %4 = input {dims = <1>, dtype = i32, name = "positions"} : i32[1]
  %5, %6 = cache_append_pair(%0, %2, %1, %2, %3, %4) : f32[3, 1, 1, 1], f32[3, 1, 1, 1]
  %7 = paged_attention(%2, %5, %6, %3, %4) {causal = true, scale = 0.5} : f32[1, 2, 1, 1]
  update "k" = %5
  update "v" = %6
  return "y" = %7
)",
            always);
}

}  // namespace
}  // namespace floe

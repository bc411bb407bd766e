#include "passes/embedding_sums.h"

#include <gtest/gtest.h>

#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"

namespace floe {
namespace {

Graph parsed(const std::string& statements) {
  return parse(all_ops(), "graph \"g\" {\n" + statements + "}\n");
}
bool always(const Graph&, const Node&) { return true; }

constexpr const char* kDoor = R"(  %0 = input {dims = <9, 4>, dtype = bf16, name = "tokens"} : bf16[9, 4]
  %1 = input {dims = <5, 4>, dtype = bf16, name = "positions"} : bf16[5, 4]
  %2 = input {dims = <2, 1>, dtype = i32, name = "ids"} : i32[2, 1]
  %3 = input {dims = <2, 1>, dtype = i32, name = "places"} : i32[2, 1]
)";
constexpr const char* kRows = R"(  %4 = embedding(%0, %2) : bf16[2, 1, 4]
  %5 = embedding(%1, %3) : bf16[2, 1, 4]
  %6 = cast(%4) {dtype = f32} : f32[2, 1, 4]
  %7 = cast(%5) {dtype = f32} : f32[2, 1, 4]
)";

void expect_joined(const std::string& before, const std::string& after) {
  const Graph joined = join_embeddings(parsed(kDoor + before), always);
  verify(joined, "embedding_sums");
  EXPECT_EQ(print(joined), print(parsed(kDoor + after)));
}

TEST(JoinEmbeddings, TakesTheScaleAndTheCastAlong) {
  expect_joined(std::string(kRows) + R"(  %8 = constant {value = tensor f32 [] {2}} : f32[]
  %9 = mul(%6, %8) : f32[2, 1, 4]
  %10 = add(%9, %7) : f32[2, 1, 4]
  %11 = cast(%10) {dtype = bf16} : bf16[2, 1, 4]
  return "y" = %11
)",
                R"(  %4 = embedding_sum(%0, %2, %1, %3) {out = bf16, scale = 2.0} : bf16[2, 1, 4]
  return "y" = %4
)");
}

TEST(JoinEmbeddings, FindsTheScaleOnEitherSide) {
  expect_joined(std::string(kRows) + R"(  %8 = constant {value = tensor f32 [] {2}} : f32[]
  %9 = mul(%8, %7) : f32[2, 1, 4]
  %10 = add(%6, %9) : f32[2, 1, 4]
  return "y" = %10
)",
                R"(  %4 = embedding_sum(%1, %3, %0, %2) {out = f32, scale = 2.0} : f32[2, 1, 4]
  return "y" = %4
)");
}

// A sum that others read in f32 is made once.
TEST(JoinEmbeddings, LeavesACastBesideOtherReaders) {
  expect_joined(std::string(kRows) + R"(  %8 = add(%6, %7) : f32[2, 1, 4]
  %9 = cast(%8) {dtype = bf16} : bf16[2, 1, 4]
  %10 = neg(%8) : f32[2, 1, 4]
  return "y" = %9
  return "z" = %10
)",
                R"(  %4 = embedding_sum(%0, %2, %1, %3) {out = f32, scale = 1.0} : f32[2, 1, 4]
  %5 = cast(%4) {dtype = bf16} : bf16[2, 1, 4]
  %6 = neg(%4) : f32[2, 1, 4]
  return "y" = %5
  return "z" = %6
)");
}

TEST(JoinEmbeddings, LeavesWhatDoesNotGoTogether) {
  const auto unchanged = [](const std::string& statements, const auto& supported) {
    const Graph before = parsed(kDoor + statements);
    EXPECT_EQ(print(join_embeddings(before, supported)), print(before));
  };
  const std::string sum = std::string(kRows) + "  %8 = add(%6, %7) : f32[2, 1, 4]\n  return \"y\" = %8\n";
  unchanged(sum, [](const Graph&, const Node&) { return false; });
  // Both scaled.
  unchanged(std::string(kRows) + R"(  %8 = constant {value = tensor f32 [] {2}} : f32[]
  %9 = mul(%6, %8) : f32[2, 1, 4]
  %10 = mul(%7, %8) : f32[2, 1, 4]
  %11 = add(%9, %10) : f32[2, 1, 4]
  return "y" = %11
)",
            always);
  // No rows of a table.
  unchanged(std::string(kRows) +
                "  %8 = add(%6, %6) : f32[2, 1, 4]\n  %9 = add(%8, %7) : f32[2, 1, 4]\n"
                "  return \"y\" = %9\n",
            [](const Graph&, const Node& node) { return node.inputs[0] != node.inputs[2]; });
  // A sum in bf16.
  unchanged(R"(  %4 = embedding(%0, %2) : bf16[2, 1, 4]
  %5 = embedding(%1, %3) : bf16[2, 1, 4]
  %6 = add(%4, %5) : bf16[2, 1, 4]
  return "y" = %6
)",
            always);
}

}  // namespace
}  // namespace floe

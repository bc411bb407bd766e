#include "passes/widen_halves.h"

#include <gtest/gtest.h>

#include "ir/print.h"
#include "ops/all.h"

namespace floe {
namespace {

std::string widened(const std::string& text) { return print(widen_halves(parse(all_ops(), text))); }

TEST(WidenHalves, ComputesInF32AndRoundsEachResult) {
  EXPECT_EQ(widened(R"(graph "g" {
  %0 = input {dims = <4>, dtype = f16, name = "x"} : f16[4]
  %1 = exp(%0) : f16[4]
  %2 = slice(%1) {axis = 0, begin = <1>, length = <2>} : f16[2]
  return "y" = %2
}
)"),
            R"(graph "g" {
  %0 = input {dims = <4>, dtype = f16, name = "x"} : f16[4]
  %1 = cast(%0) {dtype = f32} : f32[4]
  %2 = exp(%1) : f32[4]
  %3 = cast(%2) {dtype = f16} : f16[4]
  %4 = slice(%3) {axis = 0, begin = <1>, length = <2>} : f16[2]
  return "y" = %4
}
)");
}

TEST(WidenHalves, CastsThroughF32) {
  EXPECT_EQ(widened(R"(graph "g" {
  %0 = input {dims = <4>, dtype = bf16, name = "x"} : bf16[4]
  %1 = cast(%0) {dtype = i32} : i32[4]
  return "y" = %1
}
)"),
            R"(graph "g" {
  %0 = input {dims = <4>, dtype = bf16, name = "x"} : bf16[4]
  %1 = cast(%0) {dtype = f32} : f32[4]
  %2 = cast(%1) {dtype = i32} : i32[4]
  return "y" = %2
}
)");
}

TEST(WidenHalves, LeavesOtherGraphsAlone) {
  const std::string text = R"(graph "g" {
  %0 = input {dims = <4>, dtype = f32, name = "x"} : f32[4]
  %1 = exp(%0) : f32[4]
  return "y" = %1
}
)";
  EXPECT_EQ(widened(text), text);
}

}  // namespace
}  // namespace floe

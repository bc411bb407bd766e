#include "passes/mixed_precision.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/print.h"
#include "ops/all.h"
#include "passes/simplify.h"

namespace floe {
namespace {

std::string after(const std::string& statements) {
  const Graph graph = parse(all_ops(), "graph \"g\" {\n" + statements + "}\n");
  return print(simplify(mixed_precision(graph)));
}

TEST(MixedPrecision, ProductsReadAndGiveBf16AndWeightsStayF32) {
  EXPECT_EQ(after("  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
                  "  %1 = state {dims = <2, 3>, dtype = f32, name = \"w\"} : f32[2, 3]\n"
                  "  %2 = matmul(%0, %1) {transpose_b = true} : f32[4, 2]\n"
                  "  %3 = exp(%2) : f32[4, 2]\n"
                  "  return \"y\" = %3\n"),
            "graph \"g\" {\n"
            "  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
            "  %1 = state {dims = <2, 3>, dtype = f32, name = \"w\"} : f32[2, 3]\n"
            "  %2 = cast(%0) {dtype = bf16} : bf16[4, 3]\n"
            "  %3 = cast(%1) {dtype = bf16} : bf16[2, 3]\n"
            "  %4 = matmul(%2, %3) {transpose_b = true} : bf16[4, 2]\n"
            "  %5 = cast(%4) {dtype = f32} : f32[4, 2]\n"
            "  %6 = exp(%5) : f32[4, 2]\n"
            "  return \"y\" = %6\n"
            "}\n");
}

TEST(MixedPrecision, AStateThatIsStoredNarrowIsReadWithoutACast) {
  const Graph graph = parse(all_ops(),
                            "graph \"g\" {\n"
                            "  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
                            "  %1 = state {dims = <2, 3>, dtype = f32, name = \"w\"} : f32[2, 3]\n"
                            "  %2 = state {dims = <4, 2>, dtype = f32, name = \"sum\"} : f32[4, 2]\n"
                            "  %3 = matmul(%0, %1) {transpose_b = true} : f32[4, 2]\n"
                            "  %4 = add(%2, %3) : f32[4, 2]\n"
                            "  update \"sum\" = %4\n"
                            "}\n");
  const auto narrow = [](std::string_view) { return true; };
  EXPECT_EQ(print(simplify(mixed_precision(narrow_states(graph, narrow)))),
            "graph \"g\" {\n"
            "  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
            "  %1 = state {dims = <2, 3>, dtype = bf16, name = \"w\"} : bf16[2, 3]\n"
            "  %2 = state {dims = <4, 2>, dtype = bf16, name = \"sum\"} : bf16[4, 2]\n"
            "  %3 = cast(%2) {dtype = f32} : f32[4, 2]\n"
            "  %4 = cast(%0) {dtype = bf16} : bf16[4, 3]\n"
            "  %5 = matmul(%4, %1) {transpose_b = true} : bf16[4, 2]\n"
            "  %6 = cast(%5) {dtype = f32} : f32[4, 2]\n"
            "  %7 = add(%3, %6) : f32[4, 2]\n"
            "  %8 = cast(%7) {dtype = bf16} : bf16[4, 2]\n"
            "  update \"sum\" = %8\n"
            "}\n");
}

// h is normed and added to again: both read the rounded h.
TEST(MixedPrecision, AValueReadAsBf16IsTheRoundedOneForAll) {
  EXPECT_EQ(after("  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
                  "  %1 = state {dims = <3>, dtype = f32, name = \"gamma\"} : f32[3]\n"
                  "  %2 = add(%0, %0) : f32[4, 3]\n"
                  "  %3 = rms_norm(%2, %1) {eps = 1e-05} : f32[4, 3]\n"
                  "  %4 = add(%2, %3) : f32[4, 3]\n"
                  "  return \"y\" = %4\n"),
            "graph \"g\" {\n"
            "  %0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n"
            "  %1 = state {dims = <3>, dtype = f32, name = \"gamma\"} : f32[3]\n"
            "  %2 = add(%0, %0) : f32[4, 3]\n"
            "  %3 = cast(%2) {dtype = bf16} : bf16[4, 3]\n"
            "  %4 = cast(%3) {dtype = f32} : f32[4, 3]\n"
            "  %5 = rms_norm(%3, %1) {eps = 1e-05} : bf16[4, 3]\n"
            "  %6 = cast(%5) {dtype = f32} : f32[4, 3]\n"
            "  %7 = add(%4, %6) : f32[4, 3]\n"
            "  return \"y\" = %7\n"
            "}\n");
}

// An activation stays beside its product, a reshape between two products moves bf16.
TEST(MixedPrecision, ActivationsAndMovementKeepTheProductsType) {
  EXPECT_EQ(after("  %0 = input {dims = <4, 6>, dtype = f32, name = \"x\"} : f32[4, 6]\n"
                  "  %1 = state {dims = <6, 6>, dtype = f32, name = \"w\"} : f32[6, 6]\n"
                  "  %2 = matmul(%0, %1) : f32[4, 6]\n"
                  "  %3 = relu(%2) : f32[4, 6]\n"
                  "  %4 = reshape(%3) {dims = <2, 2, 6>} : f32[2, 2, 6]\n"
                  "  %5 = matmul(%4, %1) : f32[2, 2, 6]\n"
                  "  return \"y\" = %5\n"),
            "graph \"g\" {\n"
            "  %0 = input {dims = <4, 6>, dtype = f32, name = \"x\"} : f32[4, 6]\n"
            "  %1 = state {dims = <6, 6>, dtype = f32, name = \"w\"} : f32[6, 6]\n"
            "  %2 = cast(%0) {dtype = bf16} : bf16[4, 6]\n"
            "  %3 = cast(%1) {dtype = bf16} : bf16[6, 6]\n"
            "  %4 = matmul(%2, %3) : bf16[4, 6]\n"
            "  %5 = relu(%4) : bf16[4, 6]\n"
            "  %6 = reshape(%5) {dims = <2, 2, 6>} : bf16[2, 2, 6]\n"
            "  %7 = matmul(%6, %3) : bf16[2, 2, 6]\n"
            "  %8 = cast(%7) {dtype = f32} : f32[2, 2, 6]\n"
            "  return \"y\" = %8\n"
            "}\n");
}

TEST(MixedPrecision, AProductThatIsOnlyReadAsF32GivesF32) {
  const std::string text =
      "  %0 = input {dims = <4, 3>, dtype = bf16, name = \"x\"} : bf16[4, 3]\n"
      "  %1 = input {dims = <4, 2>, dtype = bf16, name = \"dy\"} : bf16[4, 2]\n"
      "  %2 = matmul(%1, %0) {transpose_a = true} : bf16[2, 3]\n"
      "  %3 = cast(%2) {dtype = f32} : f32[2, 3]\n";
  const auto widened = [](const std::string& statements) {
    return print(widen_products(parse(all_ops(), "graph \"g\" {\n" + statements + "}\n")));
  };
  EXPECT_EQ(widened(text + "  return \"dw\" = %3\n"),
            "graph \"g\" {\n"
            "  %0 = input {dims = <4, 3>, dtype = bf16, name = \"x\"} : bf16[4, 3]\n"
            "  %1 = input {dims = <4, 2>, dtype = bf16, name = \"dy\"} : bf16[4, 2]\n"
            "  %2 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n"
            "  return \"dw\" = %2\n"
            "}\n");
  const std::string both = text + "  return \"dw\" = %3\n  return \"low\" = %2\n";
  EXPECT_EQ(widened(both), "graph \"g\" {\n" + both + "}\n");
}

TEST(MixedPrecision, RefusesAnUnknownName) {
  Precision value{};
  try {
    parse("fp8", &value);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "'fp8' is none of f32, bf16");
  }
}

}  // namespace
}  // namespace floe

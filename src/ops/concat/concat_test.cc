#include "ops/concat/concat.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(std::vector<Shape> shapes, int64_t axis) {
  OpCase c{.op = "concat", .attrs = {{"axis", axis}}};
  for (Shape& shape : shapes) c.inputs.push_back(CaseInput::normal(std::move(shape)));
  c.ulps = 0;
  return c;
}

TEST(Concat, PutsOneAfterTheOther) {
  check_kernel(case_of({{3}, {5}, {1}}, 0));
  check_kernel(case_of({{4, 3}, {4, 7}}, 1));
  check_kernel(case_of({{4, 3}, {2, 3}}, 0));
  check_kernel(case_of({{2, 3, 5}, {2, 1, 5}}, -2));
  check_kernel(case_of({{70000, 1}, {70000, 2}}, 1));
}

TEST(Concat, TakesOneInputAndEmptyOnes) {
  check_kernel(case_of({{4, 3}}, 1));
  check_kernel(case_of({{4, 0}, {4, 2}}, 1));
  check_kernel(case_of({{0, 2}, {0, 3}}, 1));
}

TEST(Concat, HasAGradient) { check_gradient(case_of({{3, 2}, {3, 4}, {3, 1}}, 1)); }

TEST(Concat, RefusesInputsThatDoNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2, 3}});
  const Value y = b.input("y", {DType::f32, {3, 3}});
  try {
    concat(b, {x, y}, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[concat] inputs must agree but along axis 1: f32[2, 3] and f32[3, 3]");
  }
}

}  // namespace
}  // namespace floe

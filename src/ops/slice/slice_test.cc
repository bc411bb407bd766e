#include "ops/slice/slice.h"

#include <gtest/gtest.h>

#include <utility>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(Shape shape, int64_t axis, int64_t begin, int64_t length) {
  OpCase c{.op = "slice",
           .inputs = {CaseInput::normal(std::move(shape))},
           .attrs = {{"axis", axis}, {"begin", Dims{begin}}, {"length", Dims{length}}}};
  c.ulps = 0;
  return c;
}

TEST(Slice, TakesARange) {
  check_kernel(case_of({7}, 0, 2, 3));
  check_kernel(case_of({5, 12}, 1, 4, 8));
  check_kernel(case_of({5, 12}, 0, 4, 1));
  check_kernel(case_of({2, 5, 6, 3}, -2, 1, 5));
  check_kernel(case_of({70000, 4}, 1, 1, 2));
}

TEST(Slice, MayBeEmptyOrWhole) {
  check_kernel(case_of({5, 4}, 1, 4, 0));
  check_kernel(case_of({5, 4}, 1, 0, 4));
  check_kernel(case_of({0, 4}, 1, 1, 2));
}

TEST(Slice, HasAGradient) {
  check_gradient(case_of({4, 5}, 1, 1, 3));
  check_gradient(case_of({4, 5}, 0, 0, 2));
  check_gradient(case_of({4, 5}, 0, 0, 4));
}

TEST(Slice, RefusesWhatIsOutsideOrUnknown) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Dim s = graph.symbols().declare("S", {.min = 1, .max = 100});
  const Value x = b.input("x", {DType::f32, {2, s}});
  const auto message = [&](int64_t axis, Dim begin, Dim length) -> std::string {
    try {
      slice(b, x, axis, std::move(begin), std::move(length));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(0, 1, 2), "[slice] end on axis 0: 3 is past 2");
  EXPECT_EQ(message(1, 0, 5), "[slice] end on axis 1: cannot tell whether 5 <= S");
  EXPECT_EQ(message(0, -1, 1), "[slice] begin: 0 is past -1");
  EXPECT_EQ(message(1, 0, s), "");
  EXPECT_EQ(message(2, 0, 1), "[slice] axis 2 is outside rank 2");
}

}  // namespace
}  // namespace floe

#include "ops/sum_squares/sum_squares.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "ops/all.h"
#include "ops/slice/slice.h"
#include "testing/op_case.h"
#include "testing/program_case.h"

namespace floe {
namespace {

OpCase case_of(Shape shape) { return {.op = "sum_squares", .inputs = {CaseInput::normal(std::move(shape))}}; }

TEST(SumSquares, AddsAllSquares) {
  for (const Shape& shape :
       {Shape{}, Shape{1}, Shape{0, 3}, Shape{17}, Shape{3, 5, 7}, Shape{4097}, Shape{300, 400}}) {
    check_kernel(case_of(shape));
  }
}

TEST(SumSquares, AddsManyTensors) {
  OpCase c = case_of({17});
  for (const Shape& shape : {Shape{0}, Shape{3, 5}, Shape{70001}, Shape{}})
    c.inputs.push_back(CaseInput::normal(shape));
  check_kernel(c);
  check_gradient(c);
  for (int i = 0; i < 400; ++i) c.inputs.push_back(CaseInput::normal({1 + i % 7}));
  check_kernel(c);
}

// A slice along the first dim is read where it lies, at any element.
TEST(SumSquares, TakesASliceThatBeginsAnywhere) {
  for (const int64_t begin : {0, 1, 2, 3}) {
    Graph graph(all_ops(), "g");
    Builder b(graph);
    const Value x = b.input("x", {DType::f32, {4100, 3}});
    b.output("y", sum_squares(b, {slice(b, x, 0, Dim(begin), Dim(4096))}));
    check_program(graph, {{"x", random_shared(DType::f32, {4100, 3}, 7)}}, {});
  }
}

TEST(SumSquares, RefusesTwoTypes) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2}}), y = b.input("y", {DType::bf16, {3}});
  try {
    sum_squares(b, {x, y});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("operands must have one type, got f32[2] and bf16[3]"),
              std::string::npos)
        << error.what();
  }
}

TEST(SumSquares, CarriesNanAndInfinity) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    for (const int64_t at : {0, 16, 4999}) {
      Tensor x(DType::f32, {5000});
      x.set(at, bad);
      OpCase c = case_of({5000});
      c.inputs = {CaseInput::of(std::move(x))};
      check_kernel(c);
    }
  }
}

TEST(SumSquares, DoesNotDependOnThreads) {
  OpCase c = case_of({100003});
  c.threads = 1;
  const double one = run_kernel(c)[0].at(0);
  c.threads = 6;
  EXPECT_EQ(run_kernel(c)[0].at(0), one);
}

TEST(SumSquares, HasAGradient) { check_gradient(case_of({3, 4})); }

TEST(SumSquares, RefusesIntegers) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::i32, {2}});
  try {
    sum_squares(b, {x});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[sum_squares] input 0 must be floating, got i32[2]");
  }
}

}  // namespace
}  // namespace floe

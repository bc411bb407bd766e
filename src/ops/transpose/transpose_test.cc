#include "ops/transpose/transpose.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(Shape shape, std::vector<int64_t> perm) {
  OpCase c{.op = "transpose",
           .inputs = {CaseInput::normal(std::move(shape))},
           .attrs = {{"perm", std::move(perm)}}};
  c.ulps = 0;
  return c;
}

TEST(Transpose, MovesEveryElement) {
  check_kernel(case_of({5}, {0}));
  check_kernel(case_of({}, {}));
  check_kernel(case_of({37, 53}, {1, 0}));
  check_kernel(case_of({2, 7, 3, 33}, {0, 2, 1, 3}));  // heads
  check_kernel(case_of({2, 7, 3, 33}, {0, 2, 3, 1}));
  check_kernel(case_of({4, 5, 6}, {2, 1, 0}));
  check_kernel(case_of({3, 2, 2, 3, 5}, {4, 0, 3, 1, 2}));
  check_kernel(case_of({70000, 3}, {1, 0}));
  check_kernel(case_of({3, 70000}, {1, 0}));
}

TEST(Transpose, HandlesEmptyAndSingleDims) {
  check_kernel(case_of({0, 4}, {1, 0}));
  check_kernel(case_of({1, 9, 1}, {2, 1, 0}));
}

TEST(Transpose, MovesOtherTypes) {
  OpCase c{.op = "transpose",
           .inputs = {CaseInput::integers({19, 31}, -100, 100)},
           .attrs = {{"perm", std::vector<int64_t>{1, 0}}}};
  check_kernel(c);
  c.inputs = {CaseInput::integers({19, 31}, -100, 100, DType::i8)};
  check_kernel(c);
  c.inputs = {CaseInput::integers({19, 31}, -100, 100, DType::i64)};
  check_kernel(c);
}

TEST(Transpose, HasAGradient) { check_gradient(case_of({3, 4, 2}, {2, 0, 1})); }

TEST(Transpose, RefusesWhatIsNoPermutation) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2, 3}});
  const auto message = [&](std::vector<int64_t> perm) -> std::string {
    try {
      transpose(b, x, std::move(perm));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({0}), "[transpose] perm has 1 entries for f32[2, 3]");
  EXPECT_EQ(message({1, 1}), "[transpose] perm [1, 1] is no permutation of 2 dims");
  EXPECT_EQ(message({0, 2}), "[transpose] perm [0, 2] is no permutation of 2 dims");
}

}  // namespace
}  // namespace floe

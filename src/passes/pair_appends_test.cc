#include "passes/pair_appends.h"

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

// A cache of two blocks of two positions, one head of one feature; two rows of one new position.
constexpr const char* kDoor = R"(  %0 = state {dims = <2, 2, 1, 1>, dtype = f32, name = "k"} : f32[2, 2, 1, 1]
  %1 = state {dims = <2, 2, 1, 1>, dtype = f32, name = "v"} : f32[2, 2, 1, 1]
  %2 = input {dims = <2, 1, 1, 1>, dtype = f32, name = "new_k"} : f32[2, 1, 1, 1]
  %3 = input {dims = <2, 1, 1, 1>, dtype = f32, name = "new_v"} : f32[2, 1, 1, 1]
  %4 = input {dims = <2, 1>, dtype = i32, name = "table"} : i32[2, 1]
  %5 = input {dims = <2>, dtype = i32, name = "positions"} : i32[2]
)";

TEST(PairAppends, WritesKeysAndValuesAtOnce) {
  const Graph before = parsed(std::string(kDoor) +
                              R"(  %6 = cache_append(%0, %2, %4, %5) : f32[2, 2, 1, 1]
  %7 = cache_append(%1, %3, %4, %5) : f32[2, 2, 1, 1]
  update "k" = %6
  update "v" = %7
)");
  const Graph after = pair_appends(before, always);
  verify(after, "pair_appends");
  EXPECT_EQ(
      print(after),
      print(parsed(std::string(kDoor) +
                   R"(  %6, %7 = cache_append_pair(%0, %2, %1, %3, %4, %5) : f32[2, 2, 1, 1], f32[2, 2, 1, 1]
  update "k" = %6
  update "v" = %7
)")));
  const RefMap inputs{{"new_k", ref_of(Tensor::from_floats({2, 1, 1, 1}, {5, 6}))},
                      {"new_v", ref_of(Tensor::from_floats({2, 1, 1, 1}, {7, 8}))},
                      {"table", ref_of(Tensor::from_ints({2, 1}, {1, 0}))},
                      {"positions", ref_of(Tensor::from_ints({2}, {0, 1}))}};
  const RefMap states{{"k", RefTensor(DType::f32, {2, 2, 1, 1})}, {"v", RefTensor(DType::f32, {2, 2, 1, 1})}};
  const RefMap got = evaluate(after, inputs, states).updates;
  EXPECT_EQ(got.at("k").f, (std::vector<double>{0, 6, 5, 0}));
  EXPECT_EQ(got.at("v").f, (std::vector<double>{0, 8, 7, 0}));
}

// What the second needs is moved before the first.
TEST(PairAppends, BringsTheOperandsOfTheSecondForward) {
  EXPECT_EQ(print(pair_appends(parsed(std::string(kDoor) +
                                      R"(  %6 = cache_append(%0, %2, %4, %5) : f32[2, 2, 1, 1]
  %7 = neg(%3) : f32[2, 1, 1, 1]
  %8 = cache_append(%1, %7, %4, %5) : f32[2, 2, 1, 1]
  update "k" = %6
  update "v" = %8
)"),
                               always)),
            print(parsed(std::string(kDoor) +
                         R"(  %6 = neg(%3) : f32[2, 1, 1, 1]
  %7, %8 = cache_append_pair(%0, %2, %1, %6, %4, %5) : f32[2, 2, 1, 1], f32[2, 2, 1, 1]
  update "k" = %7
  update "v" = %8
)")));
}

TEST(PairAppends, LeavesWhatDoesNotGoTogether) {
  const auto unchanged = [](const std::string& statements) {
    const Graph before = parsed(std::string(kDoor) + statements);
    EXPECT_EQ(print(pair_appends(before, always)), print(before));
  };
  // The second reads what the first wrote.
  unchanged(R"(  %6 = cache_append(%0, %2, %4, %5) : f32[2, 2, 1, 1]
  %7 = cache_append(%6, %3, %4, %5) : f32[2, 2, 1, 1]
  update "k" = %7
  update "v" = %1
)");
  // Other positions.
  unchanged(R"(  %6 = add(%5, %5) : i32[2]
  %7 = cache_append(%0, %2, %4, %5) : f32[2, 2, 1, 1]
  %8 = cache_append(%1, %3, %4, %6) : f32[2, 2, 1, 1]
  update "k" = %7
  update "v" = %8
)");
  const Graph pair = parsed(std::string(kDoor) +
                            R"(  %6 = cache_append(%0, %2, %4, %5) : f32[2, 2, 1, 1]
  %7 = cache_append(%1, %3, %4, %5) : f32[2, 2, 1, 1]
  update "k" = %6
  update "v" = %7
)");
  const auto never = [](const Graph&, const Node&) { return false; };
  EXPECT_EQ(print(pair_appends(pair, never)), print(pair));
}

}  // namespace
}  // namespace floe

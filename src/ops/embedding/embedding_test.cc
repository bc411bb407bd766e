#include "ops/embedding/embedding.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase lookup(Shape table, Shape ids) {
  const int64_t rows = table[0];
  OpCase c{.op = "embedding",
           .inputs = {CaseInput::normal(std::move(table)), CaseInput::integers(std::move(ids), 0, rows)}};
  c.ulps = 0;
  return c;
}
OpCase scatter(Shape ids, int64_t rows, int64_t d) {
  Shape dy = ids;
  dy.push_back(d);
  return {.op = "embedding_grad",
          .inputs = {CaseInput::integers(std::move(ids), 0, rows), CaseInput::normal(std::move(dy))},
          .attrs = {{"rows", Dims{rows}}}};
}

TEST(Embedding, TakesRows) {
  check_kernel(lookup({11, 7}, {2, 5}));
  check_kernel(lookup({11, 7}, {}));
  check_kernel(lookup({5, 1}, {70000}));
  check_kernel(lookup({11, 7}, {0, 5}));
  check_kernel(lookup({11, 0}, {3}));
}

TEST(Embedding, TheGradientSumsRowsById) {
  check_kernel(scatter({3, 5}, 4, 7));
  check_kernel(scatter({70000}, 3, 2));
  check_kernel(scatter({40}, 1000, 33));
  check_kernel(scatter({0}, 5, 3));
  check_kernel(scatter({4}, 5, 0));
}

TEST(Embedding, TheGradientDoesNotDependOnThreads) {
  OpCase c = scatter({5000}, 300, 100);
  c.threads = 1;
  const Tensor one = std::move(run_kernel(c)[0]);
  c.threads = 4;
  const Tensor four = std::move(run_kernel(c)[0]);
  EXPECT_EQ(std::memcmp(one.data(), four.data(), one.bytes()), 0);
}

TEST(Embedding, CarriesNan) {
  OpCase c = scatter({3}, 4, 2);
  Tensor dy(DType::f32, {3, 2});
  dy.set(2, std::numeric_limits<double>::quiet_NaN());
  dy.set(4, std::numeric_limits<double>::infinity());
  c.inputs[1] = CaseInput::of(std::move(dy));
  check_kernel(c);
}

TEST(Embedding, HasAGradient) {
  check_gradient(lookup({6, 3}, {2, 5}));
  check_gradient(scatter({2, 5}, 4, 3));
}

std::string message_of(const OpCase& c) {
  try {
    run_kernel(c);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "";
}

TEST(Embedding, RefusesIdsOutsideTheTable) {
  FLOE_NEEDS_CPU();
  OpCase c = lookup({8, 3}, {4});
  c.inputs[1] = CaseInput::of(Tensor::from_ints({4}, {0, 7, 8, 1}));
  EXPECT_EQ(message_of(c), "[embedding] id 8 at position 2 is outside 0..7");
  c.inputs[1] = CaseInput::of(Tensor::from_ints({4}, {0, -1, 2, 1}));
  EXPECT_EQ(message_of(c), "[embedding] id -1 at position 1 is outside 0..7");
  OpCase g = scatter({2}, 3, 1);
  g.inputs[0] = CaseInput::of(Tensor::from_ints({2}, {3, 0}));
  EXPECT_EQ(message_of(g), "[embedding] id 3 at position 0 is outside 0..2");
}

TEST(Embedding, RefusesWrongTypes) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value table = b.input("t", {DType::f32, {4, 3}});
  const Value wide = b.input("w", {DType::i64, {2}});
  const Value ids = b.input("i", {DType::i32, {2}});
  const auto message = [](auto build) -> std::string {
    try {
      build();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message([&] { embedding(b, table, wide); }), "[embedding] ids must be i32, got i64[2]");
  EXPECT_EQ(message([&] { embedding_grad(b, ids, table, 4); }),
            "[embedding_grad] dy must have the dims of ids and one more: ids i32[2], dy f32[4, 3]");
}

}  // namespace
}  // namespace floe

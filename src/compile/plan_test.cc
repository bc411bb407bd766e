#include "compile/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "compile/compile.h"
#include "compile/layout.h"
#include "ir/print.h"
#include "ops/all.h"
#include "runtime/session.h"
#include "testing/op_case.h"
#include "testing/program_case.h"

namespace floe {
namespace {

Graph graph_of(const std::string& body) { return parse(all_ops(), "graph \"g\" {\n" + body + "}\n"); }

ProgramEntry entry_of(const Graph& graph) { return test_compile({graph})->entry("g"); }

int arena_storages(const ProgramEntry& entry) {
  int n = 0;
  for (const StorageSpec& storage : entry.storages) n += storage.kind == StorageSpec::Kind::arena ? 1 : 0;
  return n;
}

TEST(Layout, KeepsASliceOfAMergedProjectionThroughAReshape) {
  const Dim b = Dim::symbol("B");
  const Dim s = Dim::symbol("S");
  const Layout merged = row_major({b, s, 96});
  const Layout keys = sliced(merged, 2, 32, 32);
  EXPECT_FALSE(is_row_major(keys));
  const std::optional<Layout> heads = reshaped(keys, {b, s, 4, 8});
  ASSERT_TRUE(heads.has_value());
  EXPECT_EQ(text_of(heads->strides), "[96*S, 96, 8, 1]");
  EXPECT_EQ(heads->offset.text(), "32");
  EXPECT_FALSE(reshaped(keys, {b, s * 32}).has_value());
}

TEST(Layout, MergesLeadingDimsOfASlice) {
  const Dim b = Dim::symbol("B");
  const std::optional<Layout> rows = reshaped(sliced(row_major({b, 5, 96}), 2, 0, 32), {b * 5, 32});
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(text_of(rows->strides), "[96, 1]");
}

TEST(Plan, WritesANewStateOverTheOldOne) {
  const Graph graph = graph_of(
      "  dim N in 0..100\n"
      "  %0 = input {dims = <N>, dtype = f32, name = \"x\"} : f32[N]\n"
      "  %1 = state {dims = <N>, dtype = f32, name = \"sum\"} : f32[N]\n"
      "  %2 = add(%1, %0) : f32[N]\n"
      "  update \"sum\" = %2\n");
  const ProgramEntry entry = entry_of(graph);
  EXPECT_EQ(arena_storages(entry), 0) << print(entry);
  EXPECT_EQ(entry.steps.size(), 1u);
  EXPECT_EQ(entry.updated, std::vector<std::string>{"sum"});  // so nothing is packed from it
  check_program(graph, {{"x", random_shared(DType::f32, {7}, 1)}},
                {{"sum", random_shared(DType::f32, {7}, 2)}});
}

TEST(Plan, ReadersOfAnOldStateComeBeforeItsNewValue) {
  const Graph graph = graph_of(
      "  %0 = input {dims = <5>, dtype = f32, name = \"x\"} : f32[5]\n"
      "  %1 = state {dims = <5>, dtype = f32, name = \"s\"} : f32[5]\n"
      "  %2 = add(%1, %0) : f32[5]\n"
      "  %3 = reduce_sum(%2) {axes = [0], keep = true} : f32[1]\n"
      "  %4 = mul(%1, %3) : f32[5]\n"
      "  update \"s\" = %2\n"
      "  return \"old times sum\" = %4\n");
  check_program(graph, {{"x", random_shared(DType::f32, {5}, 1)}},
                {{"s", random_shared(DType::f32, {5}, 2)}});
}

TEST(Plan, SwapsTwoStates) {
  const Graph graph = graph_of(
      "  %0 = state {dims = <5>, dtype = f32, name = \"a\"} : f32[5]\n"
      "  %1 = state {dims = <5>, dtype = f32, name = \"b\"} : f32[5]\n"
      "  update \"a\" = %1\n"
      "  update \"b\" = %0\n");
  check_program(graph, {},
                {{"a", random_shared(DType::f32, {5}, 1)}, {"b", random_shared(DType::f32, {5}, 2)}});
}

TEST(Plan, NeverWritesOverAnInput) {
  const Graph graph = graph_of(
      "  %0 = input {dims = <6>, dtype = f32, name = \"x\"} : f32[6]\n"
      "  %1 = exp(%0) : f32[6]\n"
      "  return \"y\" = %1\n");
  const Tensor x = random_tensor(DType::f32, {6}, 3);
  const TensorPtr fed = share(copy_of(x));
  run_program(graph, {{"x", fed}}, {});
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(fed->at(i), x.at(i));
}

TEST(Plan, OutputsThatAreViewsOfOneValueBothSurvive) {
  const Graph graph = graph_of(
      "  dim B in 0..9\n"
      "  %0 = input {dims = <B, 6>, dtype = f32, name = \"x\"} : f32[B, 6]\n"
      "  %1 = exp(%0) : f32[B, 6]\n"
      "  %2 = slice(%1) {axis = 1, begin = <1>, length = <3>} : f32[B, 3]\n"
      "  %3 = reshape(%1) {dims = <6*B>} : f32[6*B]\n"
      "  return \"part\" = %2\n"
      "  return \"flat\" = %3\n");
  for (const int64_t b : {0, 1, 2, 7})
    check_program(graph, {{"x", random_shared(DType::f32, {b, 6}, 5)}}, {});
}

TEST(MemoryPlan, StoragesThatLiveTogetherDoNotOverlap) {
  ProgramEntry entry;
  entry.symbols.declare("N");
  const Dim n = Dim::symbol("N");
  uint64_t random = 7;
  for (int i = 0; i < 200; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    StorageSpec storage;
    storage.first = static_cast<int>(random >> 33) % 100;
    storage.last = storage.first + static_cast<int>(random >> 40) % 12;
    storage.bytes = n * Dim(static_cast<int64_t>(random >> 50) % 100);
    entry.storages.push_back(storage);
  }
  for (const int64_t size : {0, 1, 3, 64, 1000}) {
    const MemoryPlan plan = plan_memory(entry, {{"N", size}});
    EXPECT_LE(plan.arena, plan.sum);
    for (size_t i = 0; i < entry.storages.size(); ++i) {
      ASSERT_LE(plan.offsets[i] + plan.sizes[i], plan.arena);
      ASSERT_EQ(plan.offsets[i] % 64, 0u);
      for (size_t j = 0; j < i; ++j) {
        const StorageSpec& a = entry.storages[i];
        const StorageSpec& b = entry.storages[j];
        if (a.last < b.first || b.last < a.first || plan.sizes[i] == 0 || plan.sizes[j] == 0) continue;
        ASSERT_TRUE(plan.offsets[i] + plan.sizes[i] <= plan.offsets[j] ||
                    plan.offsets[j] + plan.sizes[j] <= plan.offsets[i]);
      }
    }
  }
}

TEST(Session, BindsOneEntryAtManySizesAndForgetsTheOldest) {
  const Graph graph = graph_of(
      "  dim N in 0..100000\n"
      "  %0 = input {dims = <N>, dtype = f32, name = \"x\"} : f32[N]\n"
      "  %1 = exp(%0) : f32[N]\n"
      "  %2 = add(%1, %0) : f32[N]\n"
      "  return \"y\" = %2\n");
  const std::shared_ptr<const Program> program = test_compile({graph});
  const std::unique_ptr<Device> device = open_test_device();
  State state(device.get());
  Session session(program, test_kernels(), *device, state, 4);
  for (int round = 0; round < 3; ++round) {
    for (int64_t n = 0; n < 40; ++n) {
      const Tensor x = random_tensor(DType::f32, {n}, static_cast<uint64_t>(n));
      const std::vector<Feed> feeds = {{"x", view_of(x)}};
      const View y = session.run("g", feeds)[0];
      ASSERT_EQ(y.size(), n);
      for (int64_t i = 0; i < n; ++i) {
        const double want = std::exp(x.at(i)) + x.at(i);
        ASSERT_NEAR(y.as<float>()[i], want, 1e-5 * (1 + std::fabs(want)));
      }
    }
  }
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Session, RefusesFeedsThatDoNotFit) {
  const Graph graph = graph_of(
      "  dim N in 1..8\n"
      "  %0 = input {dims = <N>, dtype = f32, name = \"x\"} : f32[N]\n"
      "  %1 = input {dims = <N, 2>, dtype = f32, name = \"y\"} : f32[N, 2]\n"
      "  %2 = reduce_sum(%1) {axes = [1], keep = false} : f32[N]\n"
      "  %3 = add(%0, %2) : f32[N]\n"
      "  return \"z\" = %3\n");
  const std::shared_ptr<const Program> program = test_compile({graph});
  const std::unique_ptr<Device> device = open_test_device();
  State state(device.get());
  Session session(program, test_kernels(), *device, state);
  const Tensor x3(DType::f32, {3}), x4(DType::f32, {4}), x9(DType::f32, {9}), wrong(DType::i32, {3});
  const Tensor y3(DType::f32, {3, 2}), y9(DType::f32, {9, 2}), odd(DType::f32, {3, 3});
  const auto run = [&](const Tensor& x, const Tensor& y) {
    return message_of([&] {
      const std::vector<Feed> feeds = {{"x", view_of(x)}, {"y", view_of(y)}};
      session.run("g", feeds);
    });
  };
  EXPECT_EQ(run(x3, y3), "no error");
  EXPECT_EQ(run(x4, y3), "'y' must have shape [N, 2], got [3, 2]: N is 4 elsewhere");
  EXPECT_EQ(run(wrong, y3), "'x' must be f32, got i32");
  EXPECT_EQ(run(x9, y9), "dim 'N' = 9 is outside 1..8");
  EXPECT_EQ(run(x3, odd), "'y' must have shape [N, 2], got [3, 3]");
  EXPECT_EQ(message_of([&] {
              const std::vector<Feed> feeds = {{"x", view_of(x3)}};
              session.run("g", feeds);
            }),
            "entry 'g' needs 'y'");
}

}  // namespace
}  // namespace floe

#include "compile/plan.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "compile/compile.h"
#include "compile/layout.h"
#include "ir/builder.h"
#include "ir/print.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"
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

TEST(Plan, AnOutputThatIsAnOldStateKeepsItsValue) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value s = b.state("s", {DType::f32, {Dim(4), Dim(3)}});
  b.output("old", s);
  b.output("row", slice(b, s, 0, Dim(2), Dim(1)));
  b.output("again", reshape(b, s, {Dim(12)}));
  b.update("s", add(b, s, b.scalar(1)));
  b.output("new", mul(b, s, b.scalar(2)));
  check_program(graph, {}, {{"s", random_shared(DType::f32, {4, 3}, 5)}});
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

// The backward part of attention over a merged projection.
std::string merged_gradient(const std::string& end) {
  std::string text = "  dim B in 1..4\n  dim S in 1..9\n";
  const char* names[] = {"q", "k", "v", "out"};
  for (int i = 0; i < 4; ++i) {
    text += fmt::format(
        "  %{} = input {{dims = <B, S, 2, 8>, dtype = f32, name = \"{}\"}} : f32[B, S, 2, 8]\n", i, names[i]);
  }
  return text +
         "  %4 = input {dims = <B, 2, S>, dtype = f32, name = \"lse\"} : f32[B, 2, S]\n"
         "  %5 = input {dims = <B, S, 2, 8>, dtype = f32, name = \"dout\"} : f32[B, S, 2, 8]\n"
         "  %6, %7, %8 = attention_grad(%0, %1, %2, %3, %4, %5) {causal = \"none\", dropout = 0.0, lengths = "
         "false, op_id = 0, scale = 0.5} : f32[B, S, 2, 8], f32[B, S, 2, 8], f32[B, S, 2, 8]\n" +
         end;
}

TensorMap gradient_inputs(int64_t b, int64_t s) {
  TensorMap inputs;
  uint64_t seed = 0;
  for (const char* name : {"q", "k", "v", "out", "dout"}) {
    inputs[name] = random_shared(DType::f32, {b, s, 2, 8}, ++seed);
  }
  inputs["lse"] = random_shared(DType::f32, {b, 2, s}, ++seed);
  return inputs;
}

std::vector<std::string> ops_of(const ProgramEntry& entry) {
  std::vector<std::string> ops;
  for (const StepSpec& step : entry.steps) ops.push_back(step.op);
  return ops;
}

const char* kConcat = "  %9 = concat(%6, %7, %8) {axis = 2} : f32[B, S, 6, 8]\n";

TEST(Plan, ResultsThatOnlyAConcatReadsLieInIt) {
  const Graph graph = graph_of(merged_gradient(std::string(kConcat) +
                                               "  %10 = reshape(%9) {dims = <B*S, 48>} : f32[B*S, 48]\n"
                                               "  %11 = matmul(%10, %10) {transpose_a = true} : f32[48, 48]\n"
                                               "  return \"dw\" = %11\n"));
  const ProgramEntry entry = entry_of(graph);
  EXPECT_EQ(ops_of(entry), (std::vector<std::string>{"attention_grad", "matmul"})) << print(entry);
  EXPECT_EQ(arena_storages(entry), 2) << print(entry);
  for (const auto& [b, s] : {std::pair{1, 1}, {2, 5}, {4, 9}})
    check_program(graph, gradient_inputs(b, s), {});
}

// Of any order of operands, along the last dim, as an output and as what becomes a state.
TEST(Plan, AConcatThatCopiesNothingMayLeaveTheGraph) {
  const Graph output =
      graph_of(merged_gradient("  %9 = concat(%8, %6, %7) {axis = -1} : f32[B, S, 2, 24]\n"
                               "  return \"d\" = %9\n"));
  EXPECT_EQ(ops_of(entry_of(output)), std::vector<std::string>{"attention_grad"});
  check_program(output, gradient_inputs(3, 4), {});
  const std::string state =
      "  %10 = state {dims = <B, S, 6, 8>, dtype = f32, name = \"d\"} : f32[B, S, 6, 8]\n"
      "  %11 = exp(%10) : f32[B, S, 6, 8]\n"
      "  return \"before\" = %11\n";
  for (const char* update : {"  update \"d\" = %9\n",
                             "  %12 = reshape(%9) {dims = <B, S, 6, 8>} : f32[B, S, 6, 8]\n"
                             "  update \"d\" = %12\n"}) {
    const Graph graph = graph_of(merged_gradient(kConcat + state + update));
    check_program(graph, gradient_inputs(2, 3), {{"d", random_shared(DType::f32, {2, 3, 6, 8}, 9)}});
  }
}

TEST(Plan, AConcatCopiesWhatOthersReadOrReadTwice) {
  const std::string copied = std::string(kConcat) + "  return \"d\" = %9\n";
  for (const std::string& end : {
           copied + "  return \"dk\" = %7\n",
           copied + "  %10 = matmul(%7, %7) {transpose_b = true} : f32[B, S, 2, 2]\n  return \"y\" = %10\n",
           copied + "  %10 = concat(%7, %7) {axis = 2} : f32[B, S, 4, 8]\n  return \"y\" = %10\n",
           std::string("  %9 = concat(%6, %8, %0) {axis = 2} : f32[B, S, 6, 8]\n  return \"d\" = %9\n"),
           std::string("  %9 = concat(%6, %8, %8) {axis = 2} : f32[B, S, 6, 8]\n  return \"d\" = %9\n"),
       }) {
    const Graph graph = graph_of(merged_gradient(end));
    const std::vector<std::string> ops = ops_of(entry_of(graph));
    EXPECT_NE(std::ranges::find(ops, "concat"), ops.end()) << end;
    check_program(graph, gradient_inputs(2, 3), {});
  }
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

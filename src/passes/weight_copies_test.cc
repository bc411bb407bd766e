#include "passes/weight_copies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "ir/evaluate.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "passes/mixed_precision.h"
#include "passes/optimizer.h"
#include "passes/simplify.h"
#include "tensor/dtype.h"

namespace floe {
namespace {

Graph graph_of(const std::string& statements) {
  return parse(all_ops(), "graph \"g\" {\n" + statements + "}\n");
}

// w is read both ways, gamma as f32 only, the table is no parameter.
const std::string kStates =
    "  %0 = state {dims = <2, 3>, dtype = f32, name = \"w\", trainable = true} : f32[2, 3]\n"
    "  %1 = state {dims = <3>, dtype = f32, name = \"gamma\", trainable = true} : f32[3]\n"
    "  %2 = state {dims = <2, 3>, dtype = f32, name = \"table\"} : f32[2, 3]\n";

TEST(WeightCopies, AreOfTrainableStatesThatAreCast) {
  EXPECT_EQ(copied_weights(graph_of(kStates + "  %3 = cast(%0) {dtype = bf16} : bf16[2, 3]\n"
                                              "  %4 = cast(%2) {dtype = bf16} : bf16[2, 3]\n"
                                              "  %5 = mul(%3, %4) : bf16[2, 3]\n"
                                              "  %6 = cast(%5) {dtype = bf16} : bf16[2, 3]\n"
                                              "  %7 = mul(%0, %1) : f32[2, 3]\n"
                                              "  return \"y\" = %6\n"
                                              "  return \"z\" = %7\n")),
            std::vector<std::string>{"w"});
}

TEST(WeightCopies, TheOptimizerWritesWhatTheStepReads) {
  const std::string before =
      kStates +
      "  %3 = input {dims = <>, dtype = f32, name = \"s\"} : f32[]\n"
      "  %4 = input {dims = <>, dtype = i32, name = \"step\"} : i32[]\n"
      "  %5 = cast(%0) {dtype = bf16} : bf16[2, 3]\n"
      "  %6 = cast(%2) {dtype = bf16} : bf16[2, 3]\n"
      "  %7 = mul(%5, %6) : bf16[2, 3]\n"
      "  %8, %9, %10, %11, %12, %13 = adamw(%1, %1, %1, %1, %0, %0, %0, %0, %3, %4, %3, %3) "
      "{beta1 = 0.9, beta2 = 0.98, eps = 1e-09, weight_decay = 0.0} : f32[3], f32[3], f32[3], f32[2, 3], "
      "f32[2, 3], f32[2, 3]\n"
      "  update \"gamma\" = %8\n"
      "  update \"w\" = %11\n"
      "  return \"y\" = %7\n";
  const std::string after =
      kStates +
      "  %3 = input {dims = <>, dtype = f32, name = \"s\"} : f32[]\n"
      "  %4 = input {dims = <>, dtype = i32, name = \"step\"} : i32[]\n"
      "  %5 = state {dims = <2, 3>, dtype = bf16, name = \"bf16.w\"} : bf16[2, 3]\n"
      "  %6 = cast(%2) {dtype = bf16} : bf16[2, 3]\n"
      "  %7 = mul(%5, %6) : bf16[2, 3]\n"
      "  %8, %9, %10, %11, %12, %13, %14 = adamw(%1, %1, %1, %1, %0, %0, %0, %0, %3, %4, %3, %3) "
      "{beta1 = 0.9, beta2 = 0.98, copied = [1], eps = 1e-09, weight_decay = 0.0} : f32[3], f32[3], f32[3], "
      "f32[2, 3], f32[2, 3], f32[2, 3], bf16[2, 3]\n"
      "  update \"gamma\" = %8\n"
      "  update \"w\" = %11\n"
      "  update \"bf16.w\" = %14\n"
      "  return \"y\" = %7\n";
  const Graph graph = graph_of(before);
  EXPECT_EQ(print(graph), "graph \"g\" {\n" + before + "}\n");
  const Graph copying = with_weight_copies(graph, copied_weights(graph));
  EXPECT_EQ(print(copying), "graph \"g\" {\n" + after + "}\n");
  verify(copying, "weight copies");
}

TEST(WeightCopies, AreMadeByAnEntryOfTheirOwn) {
  EXPECT_EQ(print(copy_step(graph_of(kStates + "  return \"y\" = %2\n"), {"w"})),
            "graph \"copy_weights\" {\n"
            "  %0 = state {dims = <2, 3>, dtype = f32, name = \"w\", trainable = true} : f32[2, 3]\n"
            "  %1 = state {dims = <2, 3>, dtype = bf16, name = \"bf16.w\"} : bf16[2, 3]\n"
            "  %2 = cast(%0) {dtype = bf16} : bf16[2, 3]\n"
            "  update \"bf16.w\" = %2\n"
            "}\n");
}

// Rows of a table, normed and times a matrix: the squares of the result, over as many tokens as rows.
Graph loss_graph() {
  return parse(all_ops(),
               "graph \"loss\" {\n"
               "  %0 = state {dims = <5, 4>, dtype = f32, name = \"rows\", trainable = true} : f32[5, 4]\n"
               "  %1 = state {dims = <4>, dtype = f32, name = \"gamma\", trainable = true} : f32[4]\n"
               "  %2 = state {dims = <6, 4>, dtype = f32, name = \"w\", trainable = true} : f32[6, 4]\n"
               "  %3 = state {dims = <6>, dtype = f32, name = \"bias\", trainable = true} : f32[6]\n"
               "  %4 = input {dims = <3>, dtype = i32, name = \"ids\"} : i32[3]\n"
               "  %5 = embedding(%0, %4) : f32[3, 4]\n"
               "  %6 = rms_norm(%5, %1) {eps = 1e-05} : f32[3, 4]\n"
               "  %7 = matmul(%6, %2, %3) {activation = \"\", transpose_b = true} : f32[3, 6]\n"
               "  %8 = mul(%7, %7) : f32[3, 6]\n"
               "  %9 = reduce_sum(%8) {axes = [0, 1], keep = false} : f32[]\n"
               "  %10 = constant {value = tensor f32 [] {3}} : f32[]\n"
               "  return \"loss\" = %9\n"
               "  return \"tokens\" = %10\n"
               "}\n");
}

RefTensor normal(const Type& type, std::mt19937_64& random) {
  Shape shape;
  for (const Dim& dim : type.dims) shape.push_back(dim.constant());
  RefTensor tensor(type.dtype, shape);
  std::normal_distribution<double> draw;
  for (double& x : tensor.f) x = draw(random);
  return tensor;
}

RefTensor number(DType dtype, double value) {
  RefTensor tensor(dtype, {});
  if (is_float(dtype)) {
    tensor.f[0] = value;
  } else {
    tensor.i[0] = static_cast<int64_t>(value);
  }
  return tensor;
}

void expect_same(const RefMap& want, const RefMap& got, const char* what) {
  for (const auto& [name, tensor] : want) {
    const RefTensor& other = got.at(name);
    ASSERT_EQ(other.shape, tensor.shape) << what << " " << name;
    for (size_t i = 0; i < tensor.f.size(); ++i) {
      const bool both_nan = std::isnan(tensor.f[i]) && std::isnan(other.f[i]);
      EXPECT_TRUE(both_nan || tensor.f[i] == other.f[i]) << what << " " << name << " at " << i;
    }
  }
}

void take(const RefMap& updates, RefMap* states) {
  for (const auto& [name, value] : updates) states->at(name) = value;
}

struct Steps {
  Graph loss = mixed_precision(loss_graph());
  std::vector<std::string> names = copied_weights(loss);
  OptimizerOptions options;
  RefMap states;  // of a run that casts
  RefMap with;    // of one that copies, with the copies
  std::mt19937_64 random{3};

  void begin(const std::vector<Graph>& graphs) {
    EXPECT_EQ(names, (std::vector<std::string>{"rows", "w", "bias"}));
    for (const Graph& graph : graphs) {
      for (const NamedValue& state : graph.states()) {
        if (states.contains(state.name)) continue;
        const bool weight =
            state.name.find("adam.") == std::string::npos && state.name.find("grad.") == std::string::npos;
        states[state.name] = normal(graph.type(state.value), random);
        if (!weight) std::ranges::fill(states[state.name].f, 0);
      }
    }
    with = states;
    copy();
  }
  void copy() {
    const Graph graph = copy_step(loss, names);
    for (const NamedValue& state : graph.states()) {
      if (!with.contains(state.name)) with[state.name] = normal(graph.type(state.value), random);
    }
    take(evaluate(graph, {}, with).updates, &with);
    expect_copies();
  }
  void expect_copies() const {
    for (const std::string& name : names) {
      std::vector<double> want = with.at(name).f;
      for (double& x : want) x = round_to(DType::bf16, x);
      EXPECT_EQ(with.at("bf16." + name).f, want) << name;
    }
  }
  // One entry on both sides.
  Evaluation run(const Graph& graph, const RefMap& feeds) {
    const Graph copying = simplify(with_weight_copies(graph, names));
    for (const Node& node : copying.nodes()) {
      EXPECT_FALSE(node.op->name == "cast" && node.types[0].dtype == DType::bf16 &&
                   copying.is(node.inputs[0], "state"));
    }
    Evaluation want = evaluate(simplify(graph), feeds, states);
    const Evaluation got = evaluate(copying, feeds, with);
    expect_same(want.outputs, got.outputs, "output");
    expect_same(want.updates, got.updates, "update");
    take(want.updates, &states);
    take(got.updates, &with);
    expect_copies();
    return want;
  }
};

TEST(WeightCopies, AStepThatReadsThemIsTheStepThatCasts) {
  Steps steps;
  steps.options.clip_norm = 1;
  steps.options.weight_decay = 0.1;
  steps.options.ema_decay = 0.9;
  const Graph train = train_step(steps.loss, steps.options);
  steps.begin({train});
  RefMap feeds = {{"lr", number(DType::f32, 0.1)}, {"ids", RefTensor(DType::i32, {3})}};
  feeds["ids"].i = {4, 0, 4};
  for (int step = 1; step <= 3; ++step) {
    feeds["step"] = number(DType::i32, step);
    EXPECT_EQ(steps.run(train, feeds).outputs.at("skipped").f[0], 0);
  }
  // A step without a finite gradient leaves weights and copies, whatever they are.
  for (RefMap* states : {&steps.states, &steps.with})
    states->at("gamma").f[2] = std::numeric_limits<double>::infinity();
  RefMap before;
  for (const std::string& name : steps.names) {
    for (const char* kind : {"", "adam.m.", "adam.v.", "bf16."})
      before[kind + name] = steps.with.at(kind + name);
  }
  EXPECT_EQ(steps.run(train, feeds).outputs.at("skipped").f[0], 1);
  expect_same(before, steps.with, "kept");
}

TEST(WeightCopies, MicroBatchesReadThemAndTheirLastPartWritesThem) {
  Steps steps;
  const Graph accumulate = accumulate_step(steps.loss), apply = apply_step(steps.loss, steps.options);
  steps.begin({accumulate, apply});
  RefMap feeds = {{"ids", RefTensor(DType::i32, {3})}};
  for (int step = 1; step <= 2; ++step) {
    for (int part = 0; part < 2; ++part) {
      feeds["ids"].i = {part, 2, 3};
      steps.run(accumulate, feeds);
    }
    steps.run(apply, {{"lr", number(DType::f32, 0.1)}, {"step", number(DType::i32, step)}});
  }
}

}  // namespace
}  // namespace floe

#include "passes/fuse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ir/print.h"
#include "ir/verify.h"
#include "ops/broadcast/broadcast.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"
#include "ops/reduce/reduce.h"
#include "passes/simplify_case_for_test.h"
#include "testing/program_case.h"

namespace floe {
namespace {

int count_of(const Graph& graph, std::string_view op) {
  int count = 0;
  for (const Node& node : graph.nodes()) count += node.op->name == op;
  return count;
}

void expect_legal(const Graph& graph) {
  verify(graph, "fuse");
  for (const Node& node : graph.nodes()) {
    EXPECT_FALSE(node.op->pointwise) << print_node(graph, node);
    if (node.op->name != "group") continue;
    EXPECT_LE(node.inputs.size(), static_cast<size_t>(kMaxGroupInputs));
    EXPECT_LE(node.result_count(), kMaxGroupResults);
    int instructions = 0;
    for (const ScalarInstr& instr : lower_group(*node.body).code) {
      instructions += instr.op != ScalarOp::input && instr.op != ScalarOp::constant;
    }
    EXPECT_LE(instructions, kMaxGroupInstructions);
  }
}

Graph fused(const std::string& statements) {
  const Graph before = parse(all_ops(), graph_text(statements));
  Graph after = fuse(before);
  expect_legal(after);
  return after;
}

void expect_fused(const std::string& before, const std::string& after) {
  EXPECT_EQ(print(fused(before)), print(parse(all_ops(), graph_text(after))));
}

TEST(Fuse, MakesOneGroupOfAChainWithItsConstants) {
  expect_fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <8>, dtype = f32, name = "b"} : f32[8]
  %2 = constant {value = tensor f32 [] {2}} : f32[]
  %3 = add(%0, %1) : f32[4, 8]
  %4 = relu(%3) : f32[4, 8]
  %5 = mul(%4, %2) : f32[4, 8]
  return "y" = %5)",
               R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <8>, dtype = f32, name = "b"} : f32[8]
  %2 = group(%0, %1) : f32[4, 8] body
    graph "group" {
      %0 = input {dims = <4, 8>, dtype = f32, name = "x0"} : f32[4, 8]
      %1 = input {dims = <8>, dtype = f32, name = "x1"} : f32[8]
      %2 = add(%0, %1) : f32[4, 8]
      %3 = relu(%2) : f32[4, 8]
      %4 = constant {value = tensor f32 [] {2}} : f32[]
      %5 = mul(%3, %4) : f32[4, 8]
      return "y0" = %5
    }
  return "y" = %2)");
}

TEST(Fuse, GivesAnInnerValueThatIsAlsoAnOutput) {  // never fused away
  expect_fused(R"(
  %0 = input {dims = <4>, dtype = f32, name = "x"} : f32[4]
  %1 = exp(%0) : f32[4]
  %2 = tanh(%1) : f32[4]
  return "inner" = %1
  return "y" = %2)",
               R"(
  %0 = input {dims = <4>, dtype = f32, name = "x"} : f32[4]
  %1, %2 = group(%0) : f32[4], f32[4] body
    graph "group" {
      %0 = input {dims = <4>, dtype = f32, name = "x0"} : f32[4]
      %1 = exp(%0) : f32[4]
      %2 = tanh(%1) : f32[4]
      return "y0" = %1
      return "y1" = %2
    }
  return "inner" = %1
  return "y" = %2)");
}

TEST(Fuse, DoesNotCloseACircleThroughAReduction) {
  // exp(x) is read by the sum and by the division that waits for it.
  const Graph after = fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = exp(%0) : f32[4, 8]
  %2 = reduce_sum(%1) {axes = [1], keep = true} : f32[4, 1]
  %3 = div(%1, %2) : f32[4, 8]
  return "y" = %3)");
  EXPECT_EQ(count_of(after, "group"), 2);
}

TEST(Fuse, MakesACheapValueAgainInsteadOfWritingIt) {
  // relu(x) is read on both sides of the reduction: the second group reads x, which is in memory anyway.
  const Graph after = fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = relu(%0) : f32[4, 8]
  %2 = exp(%1) : f32[4, 8]
  %3 = reduce_sum(%2) {axes = [1], keep = true} : f32[4, 1]
  %4 = div(%1, %3) : f32[4, 8]
  return "y" = %4)");
  ASSERT_EQ(count_of(after, "group"), 2);
  for (const Node& node : after.nodes()) {
    if (node.op->name == "group") {
      EXPECT_EQ(node.result_count(), 1);
    }
  }
}

TEST(Fuse, AbsorbsBroadcastsButNotDearWorkOnASmallerShape) {
  const Graph cheap = fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <4, 1>, dtype = f32, name = "s"} : f32[4, 1]
  %2 = neg(%1) : f32[4, 1]
  %3 = broadcast(%2) {dims = <4, 8>} : f32[4, 8]
  %4 = add(%0, %3) : f32[4, 8]
  return "y" = %4)");
  EXPECT_EQ(count_of(cheap, "group"), 1);
  const Graph dear = fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <4, 1>, dtype = f32, name = "s"} : f32[4, 1]
  %2 = rsqrt(%1) : f32[4, 1]
  %3 = mul(%0, %2) : f32[4, 8]
  return "y" = %3)");
  EXPECT_EQ(count_of(dear, "group"), 2);
  const Graph read_twice = fused(R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <4, 1>, dtype = f32, name = "s"} : f32[4, 1]
  %2 = neg(%1) : f32[4, 1]
  %3 = add(%0, %2) : f32[4, 8]
  return "y" = %3
  return "s2" = %2)");
  EXPECT_EQ(count_of(read_twice, "group"), 2);
}

TEST(Fuse, KeepsTheIdsOfTwoDropouts) {
  const std::string text = R"(
  %0 = input {dims = <2, 8>, dtype = f32, name = "x"} : f32[2, 8]
  %1 = input {dims = <>, dtype = i32, name = "seed"} : i32[]
  %2 = input {dims = <2>, dtype = i32, name = "ordinals"} : i32[2]
  %3 = dropout(%0, %1, %2) {op_id = 5, p = 0.5} : f32[2, 8]
  %4 = dropout(%3, %1, %2) {op_id = 6, p = 0.25} : f32[2, 8]
  return "y" = %4)";
  const Graph after = fused(text);
  ASSERT_EQ(count_of(after, "group"), 1);
  const std::string printed = print(after);
  EXPECT_NE(printed.find("op_id = 5"), std::string::npos);
  EXPECT_NE(printed.find("op_id = 6"), std::string::npos);
  expect_same_values(parse(all_ops(), graph_text(text)), after);
}

TEST(Fuse, LeavesSeedsAndOrdinalsThatAreComputedOutside) {
  const Graph after = fused(R"(
  %0 = input {dims = <2, 8>, dtype = f32, name = "x"} : f32[2, 8]
  %1 = input {dims = <>, dtype = i32, name = "seed"} : i32[]
  %2 = input {dims = <2>, dtype = i32, name = "ordinals"} : i32[2]
  %3 = add(%2, %1) : i32[2]
  %4 = dropout(%0, %1, %3) {op_id = 5, p = 0.5} : f32[2, 8]
  return "y" = %4)");
  EXPECT_EQ(count_of(after, "group"), 2);
}

TEST(Fuse, GivesAMatrixProductItsActivation) {
  const std::string doors = R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <8, 3>, dtype = f32, name = "w"} : f32[8, 3]
  %2 = matmul(%0, %1) {activation = "", transpose_a = false, transpose_b = false} : f32[4, 3])";
  expect_fused(doors + "\n  %3 = gelu(%2) : f32[4, 3]\n  return \"y\" = %3", R"(
  %0 = input {dims = <4, 8>, dtype = f32, name = "x"} : f32[4, 8]
  %1 = input {dims = <8, 3>, dtype = f32, name = "w"} : f32[8, 3]
  %2 = matmul(%0, %1) {activation = "gelu", transpose_a = false, transpose_b = false} : f32[4, 3]
  return "y" = %2)");
  // The plain product has another reader; and exp is no activation that kernels apply.
  EXPECT_EQ(count_of(fused(doors + "\n  %3 = gelu(%2) : f32[4, 3]\n  return \"y\" = %3\n  return \"z\" = %2"),
                     "group"),
            1);
  EXPECT_EQ(count_of(fused(doors + "\n  %3 = exp(%2) : f32[4, 3]\n  return \"y\" = %3"), "group"), 1);
}

TEST(Fuse, KeepsWithinItsLimits) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  Values values;
  Value sum;
  for (int i = 0; i < 40; ++i) {
    const Value x = b.input("x" + std::to_string(i), {DType::f32, {5}});
    sum = sum ? add(b, sum, x) : x;
    if (i % 3 == 0) b.output("y" + std::to_string(i), elementwise(b, "gelu", {sum}));
  }
  const Graph after = fuse(graph);
  expect_legal(after);
  EXPECT_GT(count_of(after, "group"), 1);
  expect_same_values(graph, after);
}

// --- Cases that went wrong elsewhere (values, through the kernel) ---

TEST(FusedValues, SubtractTheMaximumWithoutContraction) {
  // softmax(x * c) of large numbers: x*c - max(x*c) must be exactly 0 at the maximum, which a fused
  // multiply-subtract is not.
  for (const auto& [numbers, factor] :
       {std::pair<std::vector<float>, double>{{3.1e12f, 1.7e12f, -2e12f, 0.3e12f}, 0.73},
        {{33.3e9f, 1, 2, -5}, 1 / 0.07}}) {
    Graph graph(all_ops(), "g");
    Builder b(graph);
    const Value x = b.input("x", {DType::f32, {4}});
    const Value m = b.input("m", {DType::f32, {}});  // the maximum's operand
    b.output("e", elementwise(b, "exp", {sub(b, scale(b, x, factor), scale(b, m, factor))}));
    TensorMap feeds;
    feeds.emplace("x", share(Tensor::from_floats({4}, numbers)));
    feeds.emplace("m", share(Tensor::scalar(numbers[0])));
    const ProgramResult result = run_program(graph, feeds, {});
    const Tensor& e = *result.outputs.at("e");
    EXPECT_EQ(e.at(0), 1);
    for (int64_t i = 1; i < 4; ++i) EXPECT_EQ(e.at(i), 0);
  }
}

TEST(FusedValues, KeepNan) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {3}});
  b.output("zero_times", add(b, b.scalar(1), scale(b, x, 0)));
  b.output("max", elementwise(b, "max", {x, b.scalar(1)}));
  b.output("where", select(b, elementwise(b, "ne", {x, x}), b.scalar(0), x));
  TensorMap feeds;
  const double inf = HUGE_VAL;
  feeds.emplace("x", share(Tensor::from_doubles(DType::f32, {3}, {NAN, inf, -1})));
  const ProgramResult result = run_program(graph, feeds, {});
  EXPECT_TRUE(std::isnan(result.outputs.at("zero_times")->at(0)));
  EXPECT_TRUE(std::isnan(result.outputs.at("max")->at(0)));
  EXPECT_EQ(result.outputs.at("where")->at(0), 0);
  EXPECT_EQ(result.outputs.at("where")->at(1), inf);
}

TEST(FusedValues, WrapIntegersBeforeTheyWiden) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::i32, {1}});
  const Value u = b.input("u", {DType::u8, {1}});
  const Value v = b.input("v", {DType::u8, {1}});
  b.output("x2", cast(b, add(b, x, x), DType::i64));
  b.output("uv", cast(b, add(b, u, v), DType::i32));
  TensorMap feeds;
  feeds.emplace("x", share(Tensor::from_ints({1}, {2147483647})));
  feeds.emplace("u", share(Tensor::from_doubles(DType::u8, {1}, {200})));
  feeds.emplace("v", share(Tensor::from_doubles(DType::u8, {1}, {100})));
  const ProgramResult result = run_program(graph, feeds, {});
  EXPECT_EQ(result.outputs.at("x2")->at(0), -2);
  EXPECT_EQ(result.outputs.at("uv")->at(0), 44);
}

TEST(FusedValues, BroadcastASymbolicDimThatMayBeOne) {
  Graph graph(all_ops(), "g");
  graph.symbols().declare("B", {.min = 0, .max = 100});
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {Dim::symbol("B"), 4}});
  const Value y = b.input("y", {DType::f32, {1, 4}});
  b.output("y", elementwise(b, "relu", {mul(b, x, y)}));
  for (const int64_t rows : {0, 1, 2, 7}) {
    TensorMap feeds;
    feeds.emplace("x", share(random_tensor(DType::f32, {rows, 4}, 1)));
    feeds.emplace("y", share(random_tensor(DType::f32, {1, 4}, 2)));
    check_program(graph, feeds, {});
  }
}

// --- Random graphs ---

class RandomGraph {
 public:
  // `exact`: only operations that f32 does without rounding on small integers.
  RandomGraph(uint64_t seed, bool exact) : random_(seed), exact_(exact), builder_(graph_) {
    const int64_t sizes[] = {0, 1, 2, 3, 7, 17};
    const int rank = pick(5);
    for (int i = 0; i < rank; ++i) shape_.push_back(sizes[pick(6)]);
    const int inputs = 1 + pick(4);
    for (int i = 0; i < inputs; ++i)
      floats_.push_back(builder_.input("x" + std::to_string(i), {DType::f32, some_dims()}));
    inputs_ = floats_;
    const int steps = 3 + pick(25);
    for (int i = 0; i < steps; ++i) step();
    builder_.output("last", floats_.back());
    for (int i = 0; i < 4; ++i) builder_.output("y" + std::to_string(i), one_of(floats_));
    if (!masks_.empty()) builder_.output("mask", one_of(masks_));
  }
  const Graph& graph() const { return graph_; }

  Tensor tensor_for(Value input) {
    Shape shape;
    for (const Dim& dim : graph_.type(input).dims) shape.push_back(dim.constant());
    Tensor tensor(graph_.type(input).dtype, shape);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, exact_ ? pick(5) - 2 : 0.25 * pick(17) - 2);
    return tensor;
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Value one_of(const Values& values) {
    return values[static_cast<size_t>(pick(static_cast<int>(values.size())))];
  }
  Dims some_dims() {
    Dims dims;
    for (size_t i = static_cast<size_t>(pick(3) == 0 ? pick(static_cast<int>(shape_.size()) + 1) : 0);
         i < shape_.size(); ++i) {
      dims.emplace_back(pick(4) == 0 ? 1 : shape_[i]);
    }
    return dims;
  }

  void step() {
    const char* binary[] = {"add", "sub", "max", "min", "mul", "div", "floordiv"};
    const char* unary[] = {"neg", "abs", "relu", "floor", "exp", "tanh", "gelu", "sigmoid", "erf"};
    const Value x = one_of(floats_);
    switch (pick(9)) {
      case 0:
      case 1:
      case 2:  // an exact product has an input as factor, so that numbers stay small
        floats_.push_back(elementwise(builder_, binary[pick(exact_ ? 4 : 7)], {x, one_of(floats_)}));
        return;
      case 3:
      case 4:
        floats_.push_back(elementwise(builder_, unary[pick(exact_ ? 4 : 9)], {x}));
        return;
      case 5:
        masks_.push_back(elementwise(builder_, pick(2) == 0 ? "lt" : "ne", {x, one_of(floats_)}));
        return;
      case 6:
        if (!masks_.empty()) floats_.push_back(select(builder_, one_of(masks_), x, one_of(floats_)));
        return;
      case 7: {
        Dims dims;
        for (const int64_t dim : shape_) dims.emplace_back(dim);
        floats_.push_back(pick(2) == 0 ? broadcast(builder_, x, dims) : scale(builder_, x, pick(3) - 1));
        return;
      }
      default: {
        const Type type = builder_.type(x);
        if (!exact_ && type.rank() > 0 && pick(2) == 0) {
          floats_.push_back(reduce_sum(builder_, x, {type.rank() - 1}, /*keep=*/true));
        } else if (type.rank() >= 2 && type.rank() <= 4) {
          const std::string name = std::to_string(graph_.node_count());
          const Value seed = builder_.input("seed" + name, {DType::i32, {}});
          const Value ordinals = builder_.input("ordinals" + name, {DType::i32, {type.dim(0)}});
          floats_.push_back(dropout(builder_, x, seed, ordinals, 0.5));
        }
      }
    }
  }

  std::mt19937_64 random_;
  bool exact_;
  Shape shape_;
  Graph graph_{all_ops(), "random"};
  Builder builder_;
  Values inputs_, floats_, masks_;
};

TEST(FuseFuzz, KeepsTheValuesOfRandomGraphs) {
  int groups = 0, nodes = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph random(seed, /*exact=*/false);
    const Graph after = fuse(random.graph());
    expect_legal(after);
    ASSERT_EQ(print(parse(all_ops(), print(after))), print(after));
    RefMap feeds;
    for (const NamedValue& input : random.graph().inputs())
      feeds[input.name] = ref_of(random.tensor_for(input.value));
    const Evaluation want = evaluate(random.graph(), feeds, {});
    const Evaluation got = evaluate(after, feeds, {});
    for (const auto& [name, value] : want.outputs) expect_same_bits(got.outputs.at(name), value, name);
    if (HasFatalFailure()) FAIL() << print(random.graph()) << print(after);
    groups += count_of(after, "group");
    for (const Node& node : random.graph().nodes()) nodes += node.op->pointwise;
  }
  EXPECT_LT(groups * 2, nodes);  // fusion happens
}

TEST(FuseFuzz, RunsRandomExactGraphsAsPrograms) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph random(1000 + seed, /*exact=*/true);
    TensorMap feeds;
    for (const NamedValue& input : random.graph().inputs())
      feeds.emplace(input.name, share(random.tensor_for(input.value)));
    check_program(random.graph(), feeds, {}, /*ulps=*/0);
    if (HasFatalFailure()) FAIL() << print(random.graph());
  }
}

}  // namespace
}  // namespace floe

// Operators on numbers worked out by hand, each as a model of one node.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "frontend/onnx.h"
#include "frontend/onnx_for_test.h"
#include "ir/evaluate.h"
#include "ops/all.h"

namespace floe {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;
using Numbers = std::vector<double>;

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Operand {
  std::vector<int64_t> dims;
  std::vector<float> floats = {};
  std::vector<int64_t> ints = {};  // i64 where there are no floats
};
Operand f(std::vector<int64_t> dims, std::vector<float> values) {
  return {std::move(dims), std::move(values), {}};
}
Operand i(std::vector<int64_t> dims, std::vector<int64_t> values) {
  return {std::move(dims), {}, std::move(values)};
}

struct Result {
  Shape shape;
  Numbers numbers;
};

// All outputs of one node on constants.
std::vector<Result> run(const std::string& op, const std::vector<Operand>& operands,
                        std::initializer_list<OnnxText::Attribute> attributes = {}, int outputs = 1,
                        int64_t opset = 18) {
  OnnxText text(opset);
  std::vector<std::string> inputs, results;
  for (size_t k = 0; k < operands.size(); ++k) {
    inputs.push_back("x" + std::to_string(k));
    const Operand& x = operands[k];
    x.ints.empty() && !(x.floats.empty() && count(x.dims) == 0 && k > 0)
        ? text.floats(inputs[k], x.dims, x.floats)
        : text.ints(inputs[k], x.dims, x.ints);
  }
  for (int k = 0; k < outputs; ++k) {
    results.push_back("y" + std::to_string(k));
    text.output(results.back());
  }
  text.node(op, inputs, results, attributes);
  const OnnxImport import = import_onnx(*text.model(), all_ops());
  const Evaluation got = evaluate(import.graph, {}, {});
  std::vector<Result> out;
  for (const std::string& name : results) {
    const RefTensor& tensor = got.outputs.at(name);
    Result result{tensor.shape, {}};
    for (int64_t k = 0; k < tensor.size(); ++k) result.numbers.push_back(tensor.number(k));
    out.push_back(std::move(result));
  }
  return out;
}

Numbers numbers(const std::string& op, const std::vector<Operand>& operands,
                std::initializer_list<OnnxText::Attribute> attributes = {}, int64_t opset = 18) {
  return run(op, operands, attributes, 1, opset)[0].numbers;
}

TEST(OnnxRules, DivideIntegersTowardsZero) {
  EXPECT_THAT(numbers("Div", {i({4}, {7, -7, 7, -7}), i({4}, {2, 2, -2, -2})}), ElementsAre(3, -3, -3, 3));
  EXPECT_THAT(numbers("Div", {i({2}, {INT64_MIN, -6}), i({2}, {2, 3})}), ElementsAre(-0x1p62, -2));
}

TEST(OnnxRules, TakeRemaindersOfEitherSign) {
  const std::vector<Operand> x = {i({4}, {7, -7, 7, -7}), i({4}, {3, 3, -3, -3})};
  EXPECT_THAT(numbers("Mod", x), ElementsAre(1, 2, -2, -1));
  EXPECT_THAT(numbers("Mod", x, {{"fmod", 1}}), ElementsAre(1, -1, 1, -1));
}

TEST(OnnxRules, RoundAndClassify) {
  EXPECT_THAT(numbers("Round", {f({4}, {0.5f, 1.5f, -2.5f, 2.6f})}), ElementsAre(0, 2, -2, 3));
  EXPECT_THAT(numbers("Ceil", {f({3}, {-0.5f, 1.2f, 2})}), ElementsAre(0, 2, 2));
  EXPECT_THAT(numbers("Sign", {f({3}, {-3, 0, 7})}), ElementsAre(-1, 0, 1));
  EXPECT_THAT(numbers("IsInf", {f({3}, {INFINITY, -INFINITY, 1})}), ElementsAre(1, 1, 0));
  EXPECT_THAT(numbers("IsInf", {f({3}, {INFINITY, -INFINITY, 1})}, {{"detect_negative", 0}}),
              ElementsAre(1, 0, 0));
  EXPECT_THAT(numbers("IsNaN", {f({2}, {NAN, 1})}), ElementsAre(1, 0));
}

TEST(OnnxRules, RaiseIntegersExactly) {
  EXPECT_THAT(numbers("Pow", {i({2}, {3, -1000003}), i({}, {3})}), ElementsAre(27, -1000009000027000027.0));
  EXPECT_THAT(numbers("Pow", {f({3}, {4, 9, 2}), f({}, {0.5f})}),
              Pointwise(DoubleNear(1e-6), Numbers{2, 3, std::sqrt(2.0)}));
}

TEST(OnnxRules, ActivateWithoutOverflow) {
  EXPECT_THAT(numbers("Softplus", {f({3}, {-1000, 0, 1000})}),
              Pointwise(DoubleNear(1e-6), Numbers{0, std::log(2.0), 1000}));
  EXPECT_THAT(numbers("Elu", {f({2}, {-1, 2})}), Pointwise(DoubleNear(1e-6), Numbers{std::exp(-1.0) - 1, 2}));
  EXPECT_THAT(numbers("HardSigmoid", {f({3}, {-9, 0, 9})}), ElementsAre(0, 0.5, 1));
}

TEST(OnnxRules, ReshapeByZeroAndMinusOne) {
  EXPECT_EQ(run("Reshape", {f({2, 3, 2}, std::vector<float>(12)), i({2}, {0, -1})})[0].shape, (Shape{2, 6}));
  EXPECT_EQ(run("Reshape", {f({0, 3}, {}), i({2}, {3, 0})}, {{"allowzero", 1}})[0].shape, (Shape{3, 0}));
  EXPECT_THROW(run("Reshape", {f({6}, std::vector<float>(6)), i({2}, {-1, -1})}), Error);
  EXPECT_THROW(run("Reshape", {f({6}, std::vector<float>(6)), i({1}, {4})}), Error);
}

TEST(OnnxRules, SliceFromTheEndInStepsAndBeyond) {
  const Operand x = f({5}, {0, 1, 2, 3, 4});
  const auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return numbers("Slice", {x, i({1}, {start}), i({1}, {end}), i({1}, {0}), i({1}, {step})});
  };
  EXPECT_THAT(slice(1, 4, 1), ElementsAre(1, 2, 3));
  EXPECT_THAT(slice(-2, INT64_MAX, 1), ElementsAre(3, 4));
  EXPECT_THAT(slice(-9, 9, 2), ElementsAre(0, 2, 4));
  EXPECT_THAT(slice(-1, INT64_MIN, -2), ElementsAre(4, 2, 0));
  EXPECT_THAT(slice(3, 1, 1), ElementsAre());
}

TEST(OnnxRules, PadInEveryMode) {
  OnnxText text(18);
  for (const char* mode : {"constant", "edge", "reflect", "wrap"}) {
    std::string node, attribute;
    protozero::pbf_writer n(node), a(attribute);
    for (const char* name : {"x", "pads"}) n.add_string(1, name);
    n.add_string(2, mode);
    n.add_string(4, "Pad");
    a.add_string(1, "mode");
    a.add_string(4, mode);
    a.add_int32(20, 3);
    n.add_message(5, attribute);
    text.raw(1, node).output(mode);
  }
  text.floats("x", {3}, {1, 2, 3}).ints("pads", {2}, {2, 1});
  const Evaluation got = evaluate(import_onnx(*text.model(), all_ops()).graph, {}, {});
  EXPECT_THAT(got.outputs.at("constant").f, ElementsAre(0, 0, 1, 2, 3, 0));
  EXPECT_THAT(got.outputs.at("edge").f, ElementsAre(1, 1, 1, 2, 3, 3));
  EXPECT_THAT(got.outputs.at("reflect").f, ElementsAre(3, 2, 1, 2, 3, 2));
  EXPECT_THAT(got.outputs.at("wrap").f, ElementsAre(2, 3, 1, 2, 3, 1));
}

TEST(OnnxRules, TileAndExpandAndTrilu) {
  EXPECT_THAT(numbers("Tile", {f({1, 2}, {1, 2}), i({2}, {2, 2})}), ElementsAre(1, 2, 1, 2, 1, 2, 1, 2));
  EXPECT_THAT(numbers("Expand", {f({2, 1}, {1, 2}), i({2}, {1, 3})}), ElementsAre(1, 1, 1, 2, 2, 2));
  EXPECT_THAT(numbers("Trilu", {f({2, 3}, {1, 2, 3, 4, 5, 6}), i({}, {1})}), ElementsAre(0, 2, 3, 0, 0, 6));
  EXPECT_THAT(numbers("Trilu", {f({2, 2}, {1, NAN, 3, 4})}, {{"upper", 0}}), ElementsAre(1, 0, 3, 4));
}

TEST(OnnxRules, GatherByNegativeIndicesToo) {
  EXPECT_THAT(numbers("Gather", {f({3, 2}, {1, 2, 3, 4, 5, 6}), i({2}, {-1, 0})}), ElementsAre(5, 6, 1, 2));
  EXPECT_THAT(numbers("GatherElements", {f({2, 2}, {1, 2, 3, 4}), i({2, 2}, {0, 0, -1, 0})}, {{"axis", 1}}),
              ElementsAre(1, 1, 4, 3));
  EXPECT_THAT(numbers("GatherND", {f({2, 2}, {1, 2, 3, 4}), i({2, 2}, {0, 1, -1, 0})}), ElementsAre(2, 3));
  // An index of the next row must not be taken for one of this.
  EXPECT_THROW(numbers("GatherElements", {f({2, 2}, {1, 2, 3, 4}), i({1, 1}, {2})}, {{"axis", 1}}), Error);
}

TEST(OnnxRules, ScatterIntoPlaces) {
  EXPECT_THAT(numbers("ScatterND", {f({4}, {1, 2, 3, 4}), i({2, 1}, {-1, 1}), f({2}, {9, 8})}),
              ElementsAre(1, 8, 3, 9));
  EXPECT_THAT(
      numbers("ScatterElements", {f({1, 3}, {1, 2, 3}), i({1, 2}, {2, 0}), f({1, 2}, {9, 8})}, {{"axis", 1}}),
      ElementsAre(8, 2, 9));
}

TEST(OnnxRules, FindTheLargest) {
  const Operand x = f({5}, {1, 7, 3, 7, 0});
  EXPECT_THAT(numbers("ArgMax", {x}), ElementsAre(1));
  EXPECT_THAT(numbers("ArgMax", {x}, {{"select_last_index", 1}}), ElementsAre(3));
  EXPECT_THAT(numbers("ArgMin", {x}), ElementsAre(4));
  EXPECT_THAT(numbers("ArgMax", {f({3}, {1, NAN, 3})}), ElementsAre(1));
  EXPECT_THAT(numbers("ArgMin", {i({2}, {INT64_MIN, 5})}), ElementsAre(0));
  const auto top = run("TopK", {i({4}, {(1LL << 60) + 1, 5, (1LL << 60) + 2, -3}), i({1}, {3})}, {}, 2);
  EXPECT_THAT(top[1].numbers, ElementsAre(2, 0, 1));
  EXPECT_THAT(run("TopK", {f({4}, {3, 1, 3, 2}), i({1}, {2})}, {{"largest", 0}}, 2)[1].numbers,
              ElementsAre(1, 3));
}

TEST(OnnxRules, ReduceAlsoNothing) {
  const Operand x = f({2, 2}, {1, 2, 3, 4});
  EXPECT_THAT(numbers("ReduceProd", {x, i({1}, {1})}), ElementsAre(2, 12));
  EXPECT_THAT(numbers("ReduceMin", {x, i({1}, {0})}), ElementsAre(1, 2));
  EXPECT_THAT(numbers("ReduceSum", {x}, {{"noop_with_empty_axes", 1}}), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(numbers("ReduceProd", {f({2, 0}, {}), i({1}, {1})}), ElementsAre(1, 1));
  EXPECT_THAT(numbers("ReduceMin", {f({2, 0}, {}), i({1}, {1})}), ElementsAre(kInf, kInf));
  EXPECT_THAT(numbers("ReduceLogSumExp", {f({2}, {1000, 1000})}),
              Pointwise(DoubleNear(1e-3), Numbers{1000 + std::log(2.0)}));
  EXPECT_THAT(numbers("ReduceLogSumExp", {f({2}, {-INFINITY, -INFINITY})}), ElementsAre(-kInf));
}

TEST(OnnxRules, CumulateBothWays) {
  const std::vector<Operand> x = {f({5}, {1, 2, 3, 4, 5}), i({}, {0})};
  EXPECT_THAT(numbers("CumSum", x), ElementsAre(1, 3, 6, 10, 15));
  EXPECT_THAT(numbers("CumSum", x, {{"exclusive", 1}}), ElementsAre(0, 1, 3, 6, 10));
  EXPECT_THAT(numbers("CumSum", x, {{"reverse", 1}}), ElementsAre(15, 14, 12, 9, 5));
}

TEST(OnnxRules, SoftmaxJoinsDimsBelowOpset13) {
  const Operand x = f({1, 2, 2}, {0, 0, 0, 0});
  EXPECT_THAT(numbers("Softmax", {x}, {{"axis", 1}}, 12), ElementsAre(0.25, 0.25, 0.25, 0.25));
  EXPECT_THAT(numbers("Softmax", {x}, {{"axis", 1}}, 13), ElementsAre(0.5, 0.5, 0.5, 0.5));
}

TEST(OnnxRules, MultiplyVectorsMatricesAndIntegers) {
  EXPECT_THAT(numbers("MatMul", {f({2}, {1, 2}), f({2}, {3, 4})}), ElementsAre(11));
  EXPECT_THAT(numbers("MatMul", {f({2}, {1, 2}), f({2, 2}, {1, 2, 3, 4})}), ElementsAre(7, 10));
  EXPECT_EQ(
      run("MatMul", {f({2, 1, 1, 2}, std::vector<float>(4)), f({3, 2, 5}, std::vector<float>(30))})[0].shape,
      (Shape{2, 3, 1, 5}));
  EXPECT_THAT(numbers("Gemm", {f({2, 1}, {1, 2}), f({2, 1}, {3, 4}), f({1}, {1})}, {{"transA", 1}}),
              ElementsAre(12));
}

TEST(OnnxRules, ConvolveInGroupsAndSteps) {
  EXPECT_THAT(numbers("Conv", {f({1, 1, 5}, {1, 2, 3, 4, 5}), f({1, 1, 2}, {1, 10})}),
              ElementsAre(21, 32, 43, 54));
  EXPECT_THAT(
      numbers("Conv", {f({1, 2, 3}, {1, 2, 3, 4, 5, 6}), f({2, 1, 3}, {1, 1, 1, 2, 2, 2}), f({2}, {0, 1})},
              {{"group", 2}}),
      ElementsAre(6, 31));
  EXPECT_THROW(run("Conv", {f({1, 1, 2}, {1, 2}), f({1, 1, 3}, {1, 1, 1})}), Error);
}

TEST(OnnxRules, WriteOneHotAtAnyAxis) {
  EXPECT_THAT(numbers("OneHot", {i({2}, {1, -1}), i({}, {3}), f({2}, {0, 5})}),
              ElementsAre(0, 5, 0, 0, 0, 5));
  EXPECT_THAT(numbers("OneHot", {i({2}, {1, 7}), i({}, {3}), f({2}, {0, 5})}, {{"axis", 0}}),
              ElementsAre(0, 0, 5, 0, 0, 0));
}

TEST(OnnxRules, RefuseOperandsOfTheWrongRankOrNumber) {
  const Operand x = f({2, 2}, {1, 2, 3, 4});
  EXPECT_THROW(run("TopK", {x, i({2}, {1, 1})}, {}, 2), Error);
  EXPECT_THROW(run("Tile", {x, i({2}, {-1, 2})}), Error);
  EXPECT_THROW(run("Trilu", {x, i({2}, {1, 1})}), Error);
  EXPECT_THROW(run("CumSum", {x, i({2}, {0, 1})}), Error);
  EXPECT_THROW(run("Gather", {f({}, {1}), i({1}, {0})}), Error);
  EXPECT_THROW(run("ConstantOfShape", {i({1}, {-3})}), Error);
  EXPECT_THROW(run("Range", {i({2}, {0, 0}), i({}, {4}), i({}, {1})}), Error);
}

TEST(OnnxRules, KeepNaNWhereNumPyDoes) {
  EXPECT_THAT(numbers("Max", {f({2}, {NAN, 1}), f({2}, {1, NAN})}), testing::Each(testing::IsNan()));
  EXPECT_TRUE(std::isnan(numbers("ReduceMax", {f({3}, {1, NAN, 3})})[0]));
  EXPECT_TRUE(std::isnan(numbers("Clip", {f({1}, {NAN}), f({}, {0}), f({}, {1})})[0]));
}

}  // namespace
}  // namespace floe

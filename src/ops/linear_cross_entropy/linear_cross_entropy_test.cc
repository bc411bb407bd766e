#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "ops/all.h"
#include "passes/autodiff.h"
#include "testing/op_case.h"

namespace floe {
namespace {

struct Sizes {
  Shape leading;
  int64_t d, classes;
  bool bias = false;
  double smoothing = 0;
};
constexpr int64_t kIgnore = 0;

OpCase case_of(const char* op, const Sizes& s) {
  Shape x = s.leading;
  x.push_back(s.d);
  OpCase c{.op = op,
           .inputs = {CaseInput::normal(x), CaseInput::uniform({s.classes, s.d}, -0.5, 0.5),
                      CaseInput::integers(s.leading, 0, s.classes)},
           .attrs = {{"label_smoothing", s.smoothing}, {"ignore_index", kIgnore}, {"bias", s.bias}}};
  if (s.bias) c.inputs.push_back(CaseInput::normal({s.classes}));
  // Each logit is a sum of d terms; gradients sum over rows or over classes.
  const int64_t terms = s.d + s.classes / 8 + count(s.leading) / 8;
  c.ulps = static_cast<double>(64 + terms);
  return c;
}
constexpr const char* kOps[] = {"linear_cross_entropy", "linear_cross_entropy_grad"};

TEST(LinearCrossEntropy, GivesSumsAndGradients) {
  for (const char* op : kOps) {
    check_kernel(case_of(op, {{3, 5}, 7, 11}));
    check_kernel(case_of(op, {{3, 5}, 7, 11, true, 0.1}));
    check_kernel(case_of(op, {{37}, 20, 101, true}));
    check_kernel(case_of(op, {{1}, 1, 1, false, 0.1}));
    check_kernel(case_of(op, {{1}, 8, 2}));
    check_kernel(case_of(op, {{600}, 16, 30, true, 0.1}));  // more than one chunk
    check_kernel(case_of(op, {{150}, 8, 30011, false, 0.1}));
    check_kernel(case_of(op, {{70000}, 1, 2}));
  }
}

TEST(LinearCrossEntropy, NoRowsOrOnlyIgnoredOnesGiveZero) {
  for (const char* op : kOps) {
    check_kernel(case_of(op, {{0, 5}, 7, 11, true, 0.1}));
    OpCase c = case_of(op, {{6}, 7, 11, true, 0.1});
    c.inputs[2] = CaseInput::of(Tensor(DType::i32, {6}));
    check_kernel(c);
  }
}

TEST(LinearCrossEntropy, DoesNotReadIgnoredRows) {
  for (const char* op : kOps) {
    OpCase c = case_of(op, {{3}, 2, 5, false, 0.1});
    Tensor x = Tensor::from_floats({3, 2}, {1, 2, std::numeric_limits<float>::quiet_NaN(), 1, -1, 0.5f});
    c.inputs[0] = CaseInput::of(std::move(x));
    c.inputs[2] = CaseInput::of(Tensor::from_ints({3}, {1, kIgnore, 4}));
    check_kernel(c);
    EXPECT_TRUE(std::isfinite(run_kernel(c)[0].at(0)));
  }
}

TEST(LinearCrossEntropy, ALogitThatIsNotFiniteGivesNan) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const char* op : kOps) {
    for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
      for (const double smoothing : {0.0, 0.1}) {
        OpCase c = case_of(op, {{3}, 2, 5, true, smoothing});
        c.inputs[2] = CaseInput::of(Tensor::from_ints({3}, {1, kIgnore, 4}));
        c.inputs[3] = CaseInput::of(Tensor::from_floats({5}, {0, 1, bad, 0, 0}));
        const std::vector<Tensor> results = run_kernel(c);
        EXPECT_TRUE(std::isnan(results[0].at(0)));
        EXPECT_TRUE(std::isnan(results[1].at(0)));
        EXPECT_EQ(results[2].at(0), 2);
        EXPECT_TRUE(std::isnan(reference(c)[0].f[0]));
        if (results.size() > 3) {
          EXPECT_TRUE(std::isnan(results[3].at(0)));
          EXPECT_EQ(results[3].at(2), 0);
        }
      }
    }
  }
}

TEST(LinearCrossEntropy, DoesNotDependOnThreads) {
  OpCase c = case_of("linear_cross_entropy_grad", {{150}, 40, 5003, true, 0.1});
  c.threads = 1;
  const std::vector<Tensor> one = run_kernel(c);
  c.threads = 3;
  const std::vector<Tensor> three = run_kernel(c);
  for (size_t k = 0; k < one.size(); ++k) {
    EXPECT_EQ(std::memcmp(one[k].data(), three[k].data(), one[k].bytes()), 0) << k;
  }
}

TEST(LinearCrossEntropy, HasAMeaning) {
  for (const char* op : kOps) {
    check_meaning(case_of(op, {{3, 5}, 7, 11}));
    check_meaning(
        case_of(op, {{3, 5}, 7, 8, true, 0.125}));  // constants of the graph are f32: these are exact
  }
}

TEST(LinearCrossEntropy, TheGradientIsThatOfTheLoss) {
  for (const bool bias : {false, true}) {
    const OpCase c = case_of("linear_cross_entropy", {{3, 4}, 5, 7, bias, 0.1});
    const std::vector<RefTensor> values = case_inputs(c);
    Graph graph(all_ops(), "g");
    Builder b(graph);
    LinearCrossEntropy args{.label_smoothing = 0.1, .ignore_index = kIgnore};
    args.x = b.input("x", {DType::f32, {3, 4, 5}});
    args.weight = b.input("weight", {DType::f32, {7, 5}});
    args.targets = b.input("targets", {DType::i32, {3, 4}});
    RefMap feeds{{"x", values[0]}, {"weight", values[1]}, {"targets", values[2]}};
    std::vector<std::string> wrt{"x", "weight"};
    if (bias) {
      args.bias = b.input("bias", {DType::f32, {7}});
      feeds["bias"] = values[3];
      wrt.emplace_back("bias");
    }
    b.output("loss", linear_cross_entropy(b, args).loss);
    Differentiated d = differentiate(graph, "loss", wrt);
    for (const std::string& name : wrt) d.graph.add_output("d_" + name, d.gradients.at(name));
    const Evaluation at = evaluate(d.graph, feeds, {});
    std::mt19937_64 random(3);
    std::normal_distribution<double> normal;
    for (const std::string& name : wrt) {
      RefMap up = feeds, down = feeds;
      double slope = 0, size = 0;
      constexpr double kStep = 1e-5;
      for (size_t i = 0; i < feeds[name].f.size(); ++i) {
        const double direction = normal(random);
        slope += direction * at.outputs.at("d_" + name).f[i];
        size += std::fabs(direction * at.outputs.at("d_" + name).f[i]);
        up[name].f[i] += kStep * direction;
        down[name].f[i] -= kStep * direction;
      }
      const double numeric = (evaluate(graph, up, {}).outputs.at("loss").f[0] -
                              evaluate(graph, down, {}).outputs.at("loss").f[0]) /
                             (2 * kStep);
      EXPECT_NEAR(slope, numeric, 1e-6 * std::max(1.0, size)) << name;
    }
  }
}

template <class F>
std::string message_of(F build) {
  try {
    build();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "";
}

TEST(LinearCrossEntropy, RefusesTargetsThatAreNoClass) {
  FLOE_NEEDS_CPU();
  for (const char* op : kOps) {
    OpCase c = case_of(op, {{3}, 2, 5});
    c.inputs[2] = CaseInput::of(Tensor::from_ints({3}, {1, 5, 4}));
    EXPECT_EQ(message_of([&] { run_kernel(c); }),
              "[linear_cross_entropy] target 5 at position 1 is outside 0..4");
  }
}

TEST(LinearCrossEntropy, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  LinearCrossEntropy good;
  good.x = b.input("x", {DType::f32, {3, 2}});
  good.weight = b.input("weight", {DType::f32, {5, 2}});
  good.targets = b.input("targets", {DType::i32, {3}});
  LinearCrossEntropy bad = good;
  bad.weight = good.x;
  bad.x = good.weight;
  EXPECT_EQ(
      message_of([&] { linear_cross_entropy(b, bad); }),
      "[linear_cross_entropy] targets must be i32 with the leading dims of x: x f32[5, 2], targets i32[3]");
  bad = good;
  bad.label_smoothing = 1;
  EXPECT_EQ(message_of([&] { linear_cross_entropy(b, bad); }),
            "[linear_cross_entropy] label_smoothing must be in [0, 1), got 1");
  bad = good;
  bad.bias = b.input("bias", {DType::f32, {2}});
  EXPECT_EQ(message_of([&] { linear_cross_entropy(b, bad); }),
            "[linear_cross_entropy] bias must be [5], got f32[2]");
  b.output("nll", linear_cross_entropy(b, good).nll);
  EXPECT_EQ(message_of([&] { differentiate(graph, "nll", {"x"}); }),
            "[linear_cross_entropy] only the loss has a gradient, not nll or tokens");
}

}  // namespace
}  // namespace floe

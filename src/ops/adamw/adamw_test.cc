#include "ops/adamw/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "ops/all.h"
#include "tensor/dtype.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(const Shape& shape, int step, float skip = 0) {
  OpCase c{.op = "adamw",
           .inputs = {CaseInput::normal(shape), CaseInput::normal(shape), CaseInput::normal(shape),
                      CaseInput::uniform(shape, 0.01, 1), CaseInput::of(Tensor::scalar(0.03f)),
                      CaseInput::of(Tensor::from_ints({}, {step})), CaseInput::of(Tensor::scalar(0.5f)),
                      CaseInput::of(Tensor::scalar(skip))},
           .attrs = {{"beta1", 0.9}, {"beta2", 0.98}, {"eps", 1e-8}, {"weight_decay", 0.1}}};
  return c;
}

TEST(AdamW, TakesTheStepOfTheFormula) {
  for (const int step : {1, 2, 1000, 2000000000}) check_kernel(case_of({37, 3}, step));
  check_kernel(case_of({}, 1));
  check_kernel(case_of({0}, 1));
  check_kernel(case_of({70001}, 3));
}

// By hand: m = 0.1 * 2 = 0.2, v = 0.02 * 4 = 0.08; corrected 2 and 4; 1 * (1 - 0.1 * 0.5) - 0.1 * 2 / 2 =
// 0.85.
TEST(AdamW, TheFirstStepMovesByTheLearningRate) {
  OpCase c = case_of({1}, 1);
  const float start[] = {1, 2, 0, 0, 0.1f};
  for (size_t k = 0; k < 4; ++k) c.inputs[k] = CaseInput::of(Tensor::from_floats({1}, {start[k]}));
  c.inputs[4] = CaseInput::of(Tensor::scalar(start[4]));
  c.inputs[6] = CaseInput::of(Tensor::scalar(1));
  c.attrs.set("weight_decay", 0.5);
  const std::vector<Tensor> results = run_kernel(c);
  EXPECT_NEAR(results[0].at(0), 0.85, 1e-6);
  EXPECT_NEAR(results[1].at(0), 0.2, 1e-7);
  EXPECT_NEAR(results[2].at(0), 0.08, 1e-7);
}

TEST(AdamW, SkipLeavesEverythingAsItWas) {
  OpCase c = case_of({100}, 4, 1);
  Tensor grad(DType::f32, {100});
  for (int64_t i = 0; i < 100; ++i) grad.set(i, std::numeric_limits<double>::quiet_NaN());
  c.inputs[1] = CaseInput::of(std::move(grad));
  c.ulps = 0;
  check_kernel(c);
}

TEST(AdamW, NanWithoutSkipIsSeen) {
  OpCase c = case_of({3}, 4);
  c.inputs[1] = CaseInput::of(Tensor::from_floats({3}, {1, std::numeric_limits<float>::quiet_NaN(), 2}));
  check_kernel(c);
}

TEST(AdamW, MayWriteWhereItReads) {
  const OpCase c = case_of({1000}, 5);
  const std::vector<Tensor> want = run_kernel(c);
  std::vector<Tensor> inputs;
  for (const RefTensor& ref : case_inputs(c)) inputs.push_back(tensor_of(ref));
  std::vector<View> in;
  for (Tensor& tensor : inputs) in.push_back(view_of(tensor));
  const std::vector<View> out{in[0], in[2], in[3]};
  ThreadPool pool(2);
  kernels_of(DeviceKind::cpu)
      .named(DeviceKind::cpu, "adamw.f32")
      .bind({c.attrs, in, out, 2})
      .run({in, out, nullptr, &pool});
  const size_t from[] = {0, 2, 3};
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(std::memcmp(want[k].data(), inputs[from[k]].data(), want[k].bytes()), 0) << k;
  }
}

// Many parameters, in the order that the op takes them.
OpCase case_of_many(const std::vector<Shape>& shapes, Attrs lists, float skip = 0) {
  OpCase c = case_of({}, 7, skip);
  const std::vector<CaseInput> scalars(c.inputs.begin() + 4, c.inputs.end());
  c.inputs.clear();
  for (const Shape& shape : shapes) {
    const OpCase one = case_of(shape, 7);
    c.inputs.insert(c.inputs.end(), one.inputs.begin(), one.inputs.begin() + 4);
  }
  c.inputs.insert(c.inputs.end(), scalars.begin(), scalars.end());
  for (const auto& [name, value] : lists.all()) c.attrs.set(name, value);
  return c;
}

const std::vector<Shape> kShapes = {{37, 3}, {5}, {}, {0, 4}, {16385}, {3, 4}};
const Attrs kLists = {{"decayed", std::vector<int64_t>{0, 4}}, {"copied", std::vector<int64_t>{0, 3, 4}}};

TEST(AdamW, StepsManyParametersAsOneByOne) {
  const OpCase many = case_of_many(kShapes, kLists);
  check_kernel(many);
  const std::vector<RefTensor> inputs = case_inputs(many);
  const std::vector<Tensor> got = run_kernel(many);
  ASSERT_EQ(got.size(), kShapes.size() * 3 + 3);
  for (size_t k = 0; k < kShapes.size(); ++k) {
    OpCase one = case_of(kShapes[k], 7);
    for (size_t i = 0; i < 4; ++i) one.inputs[i] = CaseInput::of(tensor_of(inputs[k * 4 + i]));
    if (k != 0 && k != 4) one.attrs.set("weight_decay", 0.0);
    const std::vector<Tensor> want = run_kernel(one);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(want[i].bytes(), got[k * 3 + i].bytes());
      if (want[i].bytes() > 0) {
        EXPECT_EQ(std::memcmp(want[i].data(), got[k * 3 + i].data(), want[i].bytes()), 0) << k << " " << i;
      }
    }
  }
}

TEST(AdamW, StepsMoreParametersThanOneLaunchTakes) {
  std::vector<Shape> shapes;
  for (int64_t k = 0; k < 450; ++k) shapes.push_back({k % 9});
  Attrs lists;
  lists.set("copied", std::vector<int64_t>{0, 2, 199, 200, 201, 449});
  check_kernel(case_of_many(shapes, lists));
}

void expect_copies(const OpCase& c, const std::vector<Tensor>& results) {
  size_t next = results.size() - 3;
  for (const int64_t k : c.attrs.integers("copied")) {
    const Tensor &param = results[static_cast<size_t>(k) * 3], &copy = results[next++];
    ASSERT_EQ(copy.dtype(), DType::bf16);
    ASSERT_EQ(copy.shape(), param.shape());
    for (int64_t i = 0; i < param.size(); ++i)
      ASSERT_EQ(copy.as<uint16_t>()[i], to_bf16(param.as<float>()[i])) << k << " " << i;
  }
}

TEST(AdamW, ACopyIsTheNewParameterRounded) {
  const OpCase c = case_of_many(kShapes, kLists);
  expect_copies(c, run_kernel(c));
}

TEST(AdamW, ACopyOfASkippedStepIsTheOldParameterRounded) {
  OpCase c = case_of_many(kShapes, kLists, 1);
  Tensor grad(DType::f32, kShapes[0]);
  for (int64_t i = 0; i < grad.size(); ++i) grad.set(i, std::numeric_limits<double>::quiet_NaN());
  c.inputs[1] = CaseInput::of(std::move(grad));
  const std::vector<RefTensor> inputs = case_inputs(c);
  const std::vector<Tensor> results = run_kernel(c);
  for (size_t k = 0; k < kShapes.size(); ++k) {
    const Tensor old = tensor_of(inputs[k * 4]);
    if (old.bytes() == 0) continue;
    EXPECT_EQ(std::memcmp(old.data(), results[k * 3].data(), old.bytes()), 0) << k;
  }
  expect_copies(c, results);
}

TEST(AdamW, PartsOfAParameterAreStepsOfTheirOwn) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value p = b.input("p", {DType::f32, {4, 6}}), q = b.input("q", {DType::f32, {4}});
  const Value s = b.input("s", {DType::f32, {}}), i = b.input("i", {DType::i32, {}});
  AdamW args{.parameters = {{p, p, p, p}, {q, q, q, q}}, .lr = s, .step = i, .scale = s, .skip = s};
  args.parameters[0].copied = true;
  const std::vector<AdamWState> states = adamw(b, args);
  const Node& node = graph.producer(states[0].param);
  EXPECT_EQ(b.type(states[0].copy), (Type{DType::bf16, {4, 6}}));
  EXPECT_FALSE(static_cast<bool>(states[1].copy));
  const Placement cut = Placement::shard(1), whole = Placement::replicate();
  std::vector<Placement> given(12, whole);
  given[0] = cut;
  given[4] = Placement::partial();
  const ShardRule rule = node.op->shard({node, {}, given});
  std::vector<Placement> inputs(12, whole);
  std::fill_n(inputs.begin(), 4, cut);
  EXPECT_EQ(rule.inputs, inputs);
  EXPECT_EQ(rule.outputs, (std::vector<Placement>{cut, cut, cut, whole, whole, whole, cut}));
}

TEST(AdamW, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value p = b.input("p", {DType::f32, {3}});
  const Value q = b.input("q", {DType::f32, {4}});
  const Value s = b.input("s", {DType::f32, {}});
  const Value i = b.input("i", {DType::i32, {}});
  const Attrs good = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.01}};
  const auto message = [&](const Values& inputs, std::string_view name = "", AttrValue value = {}) {
    Attrs attrs = good;
    if (!name.empty()) attrs.set(name, std::move(value));
    try {
      b.add_all("adamw", inputs, attrs);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const Values fits = {p, p, p, p, q, q, q, q, s, i, s, s};
  EXPECT_EQ(message(fits), "");
  EXPECT_EQ(message({p, q, p, p, s, i, s, s}),
            "[adamw] param, grad, m and v must have one type, got f32[3] and f32[4]");
  EXPECT_EQ(message({p, p, p, p, q, q, q, p, s, i, s, s}),
            "[adamw] param, grad, m and v must have one type, got f32[4] and f32[3]");
  EXPECT_EQ(message({p, p, p, p, s, s, s, s}), "[adamw] input 5 must be i32[], got f32[]");
  EXPECT_EQ(message({p, p, p, p, q, q, q, q, s, i, s, i}), "[adamw] input 11 must be f32[], got i32[]");
  EXPECT_EQ(message({p, p, p, p, q, q, s, i, s, s}),
            "[adamw] takes 4 inputs for each parameter and 4 scalars, got 10");
  EXPECT_EQ(message(fits, "beta1", 1.0), "[adamw] betas must be in [0, 1), got 1 and 0.999");
  EXPECT_EQ(message(fits, "decayed", std::vector<int64_t>{1, 1}),
            "[adamw] decayed must name some of 2 parameters in order, got 1");
  EXPECT_EQ(message(fits, "copied", std::vector<int64_t>{0, 2}),
            "[adamw] copied must name some of 2 parameters in order, got 2");
}

}  // namespace
}  // namespace floe

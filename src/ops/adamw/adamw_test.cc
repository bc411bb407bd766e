#include "ops/adamw/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "device/cpu/thread_pool.h"
#include "ops/all.h"
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

TEST(AdamW, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value p = b.input("p", {DType::f32, {3}});
  const Value q = b.input("q", {DType::f32, {4}});
  const Value s = b.input("s", {DType::f32, {}});
  const Value i = b.input("i", {DType::i32, {}});
  const auto message = [&](const AdamW& args) -> std::string {
    try {
      adamw(b, args);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({p, q, p, p, s, i, s, s}),
            "[adamw] param, grad, m and v must have one type, got f32[3] and f32[4]");
  EXPECT_EQ(message({p, p, p, p, s, s, s, s}), "[adamw] input 5 must be i32[], got f32[]");
  EXPECT_EQ(message({p, p, p, p, s, i, s, s, 1.0}), "[adamw] betas must be in [0, 1), got 1 and 0.999");
}

}  // namespace
}  // namespace floe

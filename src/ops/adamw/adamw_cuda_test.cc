// What only the GPU's kernel has: bf16 gradients, sizes past its grid, words of 16 bytes where they fit.
#include <gtest/gtest.h>

#include "ops/adamw/adamw.h"
#include "ops/all.h"
#include "ops/slice/slice.h"
#include "testing/op_case.h"
#include "testing/program_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase case_of(const Shape& shape, DType grad, float skip) {
  return {"adamw",
          {CaseInput::normal(shape), CaseInput::normal(shape, grad), CaseInput::normal(shape),
           CaseInput::uniform(shape, 0.01, 1), CaseInput::of(Tensor::scalar(0.03f)),
           CaseInput::of(Tensor::from_ints({}, {7})), CaseInput::of(Tensor::scalar(0.5f)),
           CaseInput::of(Tensor::scalar(skip))},
          {{"beta1", 0.9}, {"beta2", 0.98}, {"eps", 1e-8}, {"weight_decay", 0.1}}};
}

TEST(AdamWCuda, TakesNarrowGradients) {
  FLOE_NEEDS_CUDA();
  for (const int64_t n : {1, 3, 4, 1023, 4097}) check_kernel(case_of({n}, DType::bf16, 0));
}

TEST(AdamWCuda, WalksPastItsGrid) {
  FLOE_NEEDS_CUDA();
  check_kernel(case_of({1300, 1001}, DType::f32, 0));
  check_kernel(case_of({1300, 1001}, DType::bf16, 0));
}

TEST(AdamWCuda, TakesGradientsOfBothTypesAtOnce) {
  FLOE_NEEDS_CUDA();
  OpCase c = case_of({4097}, DType::bf16, 0);
  const OpCase wide = case_of({8195}, DType::f32, 0);
  c.inputs.insert(c.inputs.begin(), wide.inputs.begin(), wide.inputs.begin() + 4);
  c.attrs.set("decayed", std::vector<int64_t>{1});
  check_kernel(c);
}

// The gradient begins 12 bytes into its tensor.
TEST(AdamWCuda, TakesAGradientThatIsAPartOfATensor) {
  FLOE_NEEDS_CUDA();
  Graph graph(all_ops(), "part");
  Builder b(graph);
  const auto input = [&](const char* name, int64_t rows) { return b.input(name, {DType::f32, {rows, 3}}); };
  const Value p = input("p", 7), m = input("m", 7), v = input("v", 7), whole = input("whole", 8);
  const Value number = b.input("number", {DType::f32, {}}), step = b.input("step", {DType::i32, {}});
  AdamW args{.lr = number, .step = step, .scale = number, .skip = b.scalar(0)};
  args.parameters = {{.param = p, .grad = slice(b, whole, 0, 1, 7), .m = m, .v = v, .copied = true}};
  const AdamWState state = adamw(b, args)[0];
  b.output("p", state.param);
  b.output("m", state.m);
  b.output("v", state.v);
  Tensor squares(DType::f32, {7, 3});
  for (int64_t i = 0; i < squares.size(); ++i) squares.set(i, 0.5);
  check_program(graph,
                {{"p", random_shared(DType::f32, {7, 3}, 1)},
                 {"m", random_shared(DType::f32, {7, 3}, 2)},
                 {"v", share(std::move(squares))},
                 {"whole", random_shared(DType::f32, {8, 3}, 3)},
                 {"number", share(Tensor::scalar(0.1F))},
                 {"step", share(Tensor::from_ints({}, {3}))}},
                {});
}

TEST(AdamWCuda, SkipCopiesTheOldState) {
  FLOE_NEEDS_CUDA();
  OpCase c = case_of({1001}, DType::bf16, 1);
  c.ulps = 0;
  check_kernel(c);
}

}  // namespace
}  // namespace floe

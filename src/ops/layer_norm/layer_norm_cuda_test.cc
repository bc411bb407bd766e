// What only the GPU's kernels have: bf16 rows, with weights of either type, at each way of cutting a row.
#include <gtest/gtest.h>

#include <cstring>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase forward(const Shape& shape, DType x, DType weight) {
  const Shape d{shape.back()};
  OpCase c{"layer_norm",
           {CaseInput::normal(shape, x), CaseInput::normal(d, weight), CaseInput::normal(d, weight)},
           {{"eps", 1e-5}}};
  if (x == DType::bf16) c.ulps = 2;  // one rounding from f32
  return c;
}
OpCase backward(const Shape& shape, DType x, DType weight) {
  return {
      "layer_norm_grad",
      {CaseInput::normal(shape, x), CaseInput::normal({shape.back()}, weight), CaseInput::normal(shape, x)},
      {{"eps", 1e-5}}};
}

// Lengths at the limits of the ways a row is cut: by 16-byte words or elements, a warp or a block, kept in
// registers or read again.
const int64_t kLengths[] = {2,    7,    8,    256,  257,  264,  512,  520, 768,
                            1000, 1024, 1032, 2048, 4096, 4104, 6001, 9000};

TEST(LayerNormCuda, CutsRowsOfEveryLength) {
  FLOE_NEEDS_CUDA();
  for (const int64_t d : kLengths) {
    SCOPED_TRACE(d);
    check_kernel(forward({5, d}, DType::f32, DType::f32));
    check_kernel(forward({5, d}, DType::bf16, DType::bf16));
    check_kernel(forward({5, d}, DType::bf16, DType::f32));
    if (d == 2) continue;  // there xhat is 1 and -1, and dx nothing but what rounding and eps leave of 0
    check_kernel(backward({21, d}, DType::f32, DType::f32));
    OpCase c = backward({21, d}, DType::bf16, DType::bf16);
    c.ulps = 2;
    check_kernel(c);
  }
}

// dx is bf16, dgamma and dbeta f32: each output is held to its own bound.
TEST(LayerNormCuda, GivesWeightGradientsInTheWeightsType) {
  FLOE_NEEDS_CUDA();
  for (const Shape& shape : {Shape{0, 64}, {1, 512}, {3000, 256}, {4099, 512}, {300, 1024}, {77, 300}}) {
    SCOPED_TRACE(text_of(shape));
    const OpCase c = backward(shape, DType::bf16, DType::f32);
    const std::vector<Tensor> got = run_kernel(c);
    const std::vector<RefTensor> want = reference(c);
    ASSERT_EQ(got.size(), 3u);
    expect_close(got[0], want[0], 2, "dx");
    expect_close(got[1], want[1], 32, "dgamma");
    expect_close(got[2], want[2], 32, "dbeta");
  }
}

TEST(LayerNormCuda, GivesARowTheSameBitsWhateverLiesBesideIt) {
  FLOE_NEEDS_CUDA();
  const OpCase many = forward({600, 512}, DType::bf16, DType::bf16);
  const std::vector<Tensor> all = run_kernel(many);
  const std::vector<RefTensor> inputs = case_inputs(many);
  const Tensor x = tensor_of(inputs[0]);
  Tensor last(DType::bf16, {1, 512});
  std::memcpy(last.data(), x.as<char>() + 599 * last.bytes(), last.bytes());
  OpCase single = forward({1, 512}, DType::bf16, DType::bf16);
  single.inputs = {CaseInput::of(std::move(last)), CaseInput::of(tensor_of(inputs[1])),
                   CaseInput::of(tensor_of(inputs[2]))};
  const std::vector<Tensor> one = run_kernel(single);
  EXPECT_EQ(std::memcmp(one[0].data(), all[0].as<char>() + 599 * one[0].bytes(), one[0].bytes()), 0);
}

}  // namespace
}  // namespace floe

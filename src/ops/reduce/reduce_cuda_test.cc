// What only the GPU's kernels have: 2-byte types, and the limits of their segments, slices and strips.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

// Whole numbers whose sums f32 holds exactly: nothing lost or taken twice can hide, and a narrower result is
// rounded once.
OpCase case_of(const char* op, const Shape& shape, std::vector<int64_t> axes, DType dtype) {
  OpCase c{.op = op,
           .inputs = {CaseInput::integers(shape, -8, 9, dtype)},
           .attrs = {{"axes", std::move(axes)}, {"keep", false}}};
  c.ulps = dtype == DType::f32 || std::strcmp(op, "reduce_max") == 0 ? 0 : 1;
  return c;
}

const DType kTypes[] = {DType::f32, DType::bf16, DType::f16};

TEST(ReduceCuda, TakesRowsOfEveryLength) {
  FLOE_NEEDS_CUDA();
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    for (const DType dtype : kTypes) {
      for (const int64_t n : {1, 2, 8, 9, 16, 1000, 1023, 1024, 1025, 1032, 16384, 16385, 16392, 50001}) {
        SCOPED_TRACE(n);
        check_kernel(case_of(op, {3, n}, {1}, dtype));
      }
      check_kernel(case_of(op, {1000001}, {0}, dtype));
      check_kernel(case_of(op, {600000, 2}, {1}, dtype));
    }
  }
}

TEST(ReduceCuda, TakesColumnsOfEveryShape) {
  FLOE_NEEDS_CUDA();
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    for (const DType dtype : kTypes) {
      for (const Shape& shape : {Shape{2, 512},
                                 {63, 8},
                                 {64, 7},
                                 {65, 264},
                                 {1000, 257},
                                 {20001, 24},
                                 {4096, 512},
                                 {17000, 130}}) {
        SCOPED_TRACE(text_of(shape));
        check_kernel(case_of(op, shape, {0}, dtype));
      }
      check_kernel(case_of(op, {7, 100, 40}, {1}, dtype));
      check_kernel(case_of(op, {70000, 3, 4}, {1}, dtype));
    }
  }
}

TEST(ReduceCuda, TakesAnyAxesOf2ByteTypes) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    check_kernel(case_of("reduce_sum", {5, 7, 3, 9}, {0, 2}, dtype));
    check_kernel(case_of("reduce_max", {5, 7, 3, 9}, {1, 3}, dtype));
    check_kernel(case_of("reduce_sum", {5, 7}, {}, dtype));
    check_kernel(case_of("reduce_sum", {0, 7}, {0}, dtype));
    check_kernel(case_of("reduce_max", {0, 7}, {0}, dtype));
  }
}

TEST(ReduceCuda, NanAndInfinityStayInTheirColumn) {
  FLOE_NEEDS_CUDA();
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    for (const int64_t row : {0, 99, 299}) {
      Tensor x(DType::bf16, {300, 16});
      x.set(row * 16 + 3, std::numeric_limits<double>::quiet_NaN());
      x.set(row * 16 + 7, -std::numeric_limits<double>::infinity());
      OpCase c = case_of(op, {300, 16}, {0}, DType::bf16);
      c.inputs = {CaseInput::of(std::move(x))};
      check_kernel(c);
    }
  }
}

TEST(ReduceCuda, GivesARowTheSameBitsWhateverLiesBesideIt) {
  FLOE_NEEDS_CUDA();
  for (const int64_t n : {100, 3000, 40000}) {
    OpCase many{.op = "reduce_sum",
                .inputs = {CaseInput::normal({40, n})},
                .attrs = {{"axes", std::vector<int64_t>{1}}, {"keep", false}}};
    const Tensor all = std::move(run_kernel(many)[0]);
    const Tensor x = tensor_of(case_inputs(many)[0]);
    Tensor last(DType::f32, {1, n});
    std::memcpy(last.data(), x.as<float>() + 39 * n, last.bytes());
    many.inputs = {CaseInput::of(std::move(last))};
    EXPECT_EQ(run_kernel(many)[0].at(0), all.at(39));
  }
}

}  // namespace
}  // namespace floe

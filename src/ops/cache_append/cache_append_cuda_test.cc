// What only the GPU's kernel has: words of every width, and tables that name what is not there.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase make(int64_t width, DType dtype, const std::vector<int32_t>& table,
            const std::vector<int32_t>& positions) {
  OpCase c{
      "cache_append",
      {CaseInput::integers({5, 4, 2, width}, -100, 100, dtype),
       CaseInput::integers({2, 3, 2, width}, -100, 100, dtype),
       CaseInput::of(Tensor::from_ints({2, 2}, table)), CaseInput::of(Tensor::from_ints({2}, positions))}};
  c.ulps = 0;
  return c;
}

TEST(CacheAppendCuda, WritesHeadsOfEveryWidth) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::i8, DType::bf16, DType::f32}) {
    for (const int64_t width : {1, 2, 4, 6, 8, 16, 64}) {
      SCOPED_TRACE(width);
      check_kernel(make(width, dtype, {4, 1, 0, 2}, {2, 5}));
      check_kernel(make(width, dtype, {4, 1, -1, -1}, {0, 1}));
    }
  }
}

// The pair gives what two give.
TEST(CacheAppendCuda, WritesAPair) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const int64_t width : {1, 6, 64}) {
      SCOPED_TRACE(width);
      const OpCase one = make(width, dtype, {4, 1, -1, 2}, {2, 5});
      OpCase pair = one;
      pair.op = "cache_append_pair";
      pair.inputs.insert(pair.inputs.begin() + 2, {one.inputs[0], one.inputs[1]});
      check_kernel(pair);
    }
  }
}

TEST(CacheAppendCuda, LeavesOutWhatLiesOutside) {
  FLOE_NEEDS_CUDA();
  const Tensor want = std::move(run_kernel(make(8, DType::f32, {4, 1, -1, -1}, {2, 5}))[0]);
  for (const OpCase& c : {make(8, DType::f32, {4, 1, 5, 1000}, {2, 5}),  // blocks that are not there
                          make(8, DType::f32, {4, 1, -7, -1000000}, {2, 5}),
                          make(8, DType::f32, {4, 1, 0, 2}, {2, 8}),  // positions past the table
                          make(8, DType::f32, {4, 1, 0, 2}, {2, -3})}) {
    const Tensor got = std::move(run_kernel(c)[0]);
    for (int64_t i = 0; i < got.size(); ++i) ASSERT_EQ(got.at(i), want.at(i)) << i;
  }
}

}  // namespace
}  // namespace floe

// What only the GPU's kernels have: 2-byte types, widths that are no whole vectors, slices of a merged
// projection.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <utility>

#include "device/device.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase make(const Shape& shape, bool interleaved, DType dtype) {
  OpCase c{"rope",
           {CaseInput::normal(shape, dtype), CaseInput::integers({shape[0], shape[1]}, 0, 5000)},
           {{"base", 10000.0}, {"interleaved", interleaved}, {"inverse", false}}};
  if (dtype != DType::f32) c.ulps = 2;  // one rounding from f32
  return c;
}

TEST(RopeCuda, TurnsEveryWidthAndType) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t width : {2, 6, 8, 16, 20, 64, 128, 512}) {
      for (const bool interleaved : {false, true}) {
        SCOPED_TRACE(width);
        check_kernel(make({2, 19, 3, width}, interleaved, dtype));
      }
    }
  }
}

// x = merged[:, :, begin : begin + H * D] seen as [B, S, H, D], with a row stride of the whole projection and
// an address that a vector load needs to be, or not to be, a multiple of 16 bytes.
TEST(RopeCuda, ReadsASliceAsItsCopy) {
  FLOE_NEEDS_CUDA();
  const int64_t heads = 2, width = 16, tokens = 21;
  for (const auto& [stride, begin] : {std::pair<int64_t, int64_t>{96, 32}, {96, 3}, {99, 32}}) {
    OpCase c = make({1, tokens, heads, width}, false, DType::bf16);
    const std::vector<RefTensor> inputs = case_inputs(c);
    const Tensor x = tensor_of(inputs[0]), positions = tensor_of(inputs[1]);
    const Tensor want = std::move(run_kernel(c)[0]);
    Tensor merged(DType::bf16, {tokens, stride});
    const size_t row_bytes = static_cast<size_t>(heads * width) * 2;
    for (int64_t t = 0; t < tokens; ++t) {
      std::memcpy(merged.as<uint16_t>() + t * stride + begin, x.as<uint16_t>() + t * heads * width,
                  row_bytes);
    }
    const std::unique_ptr<Device> device = open_test_device();
    DeviceBuffer from(*device, merged.bytes()), at(*device, positions.bytes()), to(*device, want.bytes());
    device->upload(from.data(), merged.data(), merged.bytes());
    device->upload(at.data(), positions.data(), positions.bytes());
    View in(static_cast<uint16_t*>(from.data()) + begin, DType::bf16, {1, tokens, heads, width});
    in.strides[0] = tokens * stride;
    in.strides[1] = stride;
    const std::vector<View> ins{in, View(at.data(), DType::i32, {1, tokens})};
    const std::vector<View> outs{View(to.data(), DType::bf16, {1, tokens, heads, width})};
    const BoundKernel bound =
        test_kernels().named(DeviceKind::cuda, "rope.bf16").bind({c.attrs, ins, outs, 1});
    KernelRun run{ins, outs, nullptr, nullptr};
    run.stream = device->stream();
    bound.run(run);
    Tensor got(DType::bf16, want.shape());
    device->download(got.data(), to.data(), got.bytes());
    device->wait();
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.bytes()), 0) << stride << " from " << begin;
  }
}

}  // namespace
}  // namespace floe

// A kernel that fails leaves the device useless until the process ends. That must never be taken for a lack
// of memory, which one answers with smaller batches.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "device/cuda/check.h"
#include "device/device.h"

namespace floe {
namespace {

// Ends the process: 0 when every later call told of the failure as what it is.
[[noreturn]] void break_device_and_allocate() {
  const auto device = open_cuda_device();
  const auto module = device->build("extern \"C\" __global__ void halt(int) { __trap(); }\n");
  int nothing = 0;
  void* arguments[] = {&nothing};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(1);
  config.stream = static_cast<cudaStream_t>(device->stream());
  check_cuda(cudaLaunchKernelExC(&config, module->function("halt"), arguments), "halt");
  const auto kind_of_failure = [](auto call) {
    try {
      call();
    } catch (const OutOfMemory& e) {
      std::fprintf(stderr, "taken for a lack of memory: %s\n", e.what());
      std::_Exit(1);
    } catch (const Error& e) {
      return e.kind();
    }
    std::fprintf(stderr, "no error\n");
    std::_Exit(2);
  };
  const auto expect_device_error = [&](auto call) {
    if (kind_of_failure(call) != ErrorKind::device) std::_Exit(3);
  };
  expect_device_error([&] { device->wait(); });
  expect_device_error([&] { device->allocate(1 << 20); });
  expect_device_error([&] { device->allocate_host(1 << 20); });
  expect_device_error([&] { device->memory_available(); });
  std::_Exit(0);
}

TEST(BrokenDevice, IsNotTakenForOneWithoutMemory) {
  std::string why_not;
  if (!has_cuda_device(&why_not)) GTEST_SKIP() << why_not;
  // The child begins anew: CUDA does not survive a fork.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(break_device_and_allocate(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace floe

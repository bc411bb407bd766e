// Where tests run: on the CPU, or on the GPU when the environment variable FLOE_TEST_DEVICE is "cuda"
// (ctest's label gpu). A GPU run on a machine without a GPU skips every test and says why.
#pragma once
#include <memory>

#include "compile/compile.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "runtime/state.h"

namespace floe {

DeviceKind test_device_kind();
std::unique_ptr<Device> open_test_device(int threads = 2);
const KernelTable& kernels_of(DeviceKind kind);
inline const KernelTable& test_kernels() { return kernels_of(test_device_kind()); }
// A state's tensor fetched, changed and set again, wherever it lies.
template <class F>
void change_state(State& state, std::string_view name, F change) {
  Tensor tensor = copy_of(state.get(name));
  change(tensor);
  state.set(name, std::move(tensor));
}
// compile() for the test's device.
std::shared_ptr<const Program> test_compile(const std::vector<Graph>& graphs, CompileOptions options = {});

}  // namespace floe

// At the head of a test of what only the GPU has, or only the CPU.
#define FLOE_NEEDS_CUDA()                                     \
  if (::floe::test_device_kind() != ::floe::DeviceKind::cuda) \
  GTEST_SKIP() << "for the GPU: runs with FLOE_TEST_DEVICE=cuda"
#define FLOE_NEEDS_CPU() \
  if (::floe::test_device_kind() != ::floe::DeviceKind::cpu) GTEST_SKIP() << "of the CPU alone"

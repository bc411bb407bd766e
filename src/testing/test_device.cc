#include "testing/test_device.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace floe {
namespace {

class SkipsWithoutGpu : public testing::Environment {
 public:
  void SetUp() override {
    std::string why_not;
    // GoogleTest then says that the tests passed; ctest goes by these words (cmake/rooms.cmake).
    if (test_device_kind() == DeviceKind::cuda && !has_cuda_device(&why_not))
      GTEST_SKIP() << "FLOE_TEST_DEVICE is cuda, but " << why_not;
  }
};

const testing::Environment* const kRegistered = testing::AddGlobalTestEnvironment(new SkipsWithoutGpu);

}  // namespace

DeviceKind test_device_kind() {
  static const DeviceKind once = [] {
    DeviceKind kind = DeviceKind::cpu;
    const char* name = std::getenv("FLOE_TEST_DEVICE");
    if (name != nullptr && !std::string_view(name).empty()) parse(name, &kind);
    return kind;
  }();
  return once;
}

std::unique_ptr<Device> open_test_device(int threads) { return open_device(test_device_kind(), threads); }

const KernelTable& kernels_of(DeviceKind kind) {
  const auto table_of = [](DeviceKind of) {
    KernelTable kernels;
    add_all_kernels(of, kernels);
    return kernels;
  };
  static const KernelTable cpu = table_of(DeviceKind::cpu), cuda = table_of(DeviceKind::cuda);
  return kind == DeviceKind::cpu ? cpu : cuda;
}

std::shared_ptr<const Program> test_compile(const std::vector<Graph>& graphs, CompileOptions options) {
  options.device = test_device_kind();
  return compile(graphs, test_kernels(), options);
}

}  // namespace floe

// What a device counts as memory in use, and what a session and a state are like after a refusal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/print.h"
#include "ops/all.h"
#include "runtime/session.h"
#include "testing/program_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

using testing::HasSubstr;

template <class F>
std::string out_of_memory(F f) {
  try {
    f();
  } catch (const OutOfMemory& e) {
    EXPECT_EQ(e.kind(), ErrorKind::device);
    return e.what();
  }
  return "no error";
}

TEST(MemoryLimit, CountsWhatIsAllocatedAndGivesBackWhatIsReleased) {
  const auto device = open_test_device(1);
  EXPECT_EQ(device->memory_in_use(), 0u);
  EXPECT_EQ(device->memory_limit(), Device::kNoLimit);
  device->set_memory_limit(1000);
  EXPECT_EQ(device->memory_available(), 1000u);
  DeviceBuffer first(*device, 600);
  EXPECT_EQ(device->memory_in_use(), 600u);
  EXPECT_EQ(
      out_of_memory([&] { DeviceBuffer second(*device, 401); }),
      device->name() + ": 401 bytes asked for with 600 bytes in use, above the memory limit of 1000 bytes");
  EXPECT_EQ(device->memory_in_use(), 600u);
  const MemoryClaim claim(*device, 300);
  EXPECT_EQ(device->memory_available(), 100u);
  EXPECT_THAT(out_of_memory([&] { MemoryClaim more(*device, 101); }), HasSubstr("101 bytes asked for"));
  DeviceBuffer moved = std::move(first);
  EXPECT_EQ(device->memory_in_use(), 900u);
  moved.reset();
  EXPECT_EQ(device->memory_in_use(), 300u);
  device->set_memory_limit(200);  // below what is in use: nothing more is given
  EXPECT_EQ(device->memory_available(), 0u);
  EXPECT_NE(out_of_memory([&] { DeviceBuffer one(*device, 1); }), "no error");
}

TEST(MemoryLimit, TellsWhatADeviceDoesNotHave) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer ends the process where an allocation is refused";
#endif
  const auto device = open_test_device(1);
  constexpr size_t kPetabyte = size_t{1} << 50;  // beyond any address space
  EXPECT_THAT(out_of_memory([&] { DeviceBuffer all(*device, kPetabyte); }),
              HasSubstr("1024.00 TiB asked for"));
  EXPECT_EQ(device->memory_in_use(), 0u);
  const DeviceBuffer some(*device, 1 << 20);  // and it works on
  EXPECT_NE(some.data(), nullptr);
  if (device->on_host()) {
    EXPECT_EQ(device->memory_available(), Device::kNoLimit);
  } else {
    EXPECT_LT(device->memory_available(), kPetabyte);
  }
}

TEST(MemoryLimit, HoldsForAState) {
  const auto device = open_test_device(1);
  State state(device.get());
  state.set("a", Tensor::from_ints({2}, {1, 2}));
  state.set_zero("b", DType::f32, {100});
  EXPECT_EQ(device->memory_in_use(), 408u);
  EXPECT_EQ(state.bytes(), 408u);
  device->set_memory_limit(500);
  EXPECT_NE(out_of_memory([&] { state.set_zero("c", DType::f32, {100}); }), "no error");
  EXPECT_FALSE(state.has("c"));
  EXPECT_NE(out_of_memory([&] { state.set("a", Tensor(DType::i32, {200})); }), "no error");
  EXPECT_EQ(state.get("a").at(1), 2);  // the old one stays
  // One of the same kind takes the old one's place.
  device->set_memory_limit(408);
  state.set("a", Tensor::from_ints({2}, {3, 4}));
  EXPECT_EQ(state.get("a").at(1), 4);
  state.set_zero("a", DType::i32, {2});
  EXPECT_EQ(state.get("a").at(1), 0);
  state.erase("b");
  EXPECT_EQ(device->memory_in_use(), 8u);
}

class SessionMemory : public testing::Test {
 protected:
  SessionMemory() {
    state_.set("w", random_tensor(DType::f32, {16, 64}, 1));
    session_ = std::make_unique<Session>(program_, test_kernels(), *device_, state_);
  }
  std::vector<float> run(int64_t rows) {
    const Tensor x = random_tensor(DType::f32, {rows, 16}, 5);
    const std::vector<Feed> feeds = {{"x", view_of(x)}};
    const View y = session_->run("g", feeds)[0];
    return {y.as<float>(), y.as<float>() + y.size()};
  }

  std::shared_ptr<const Program> program_ = test_compile({parse(
      all_ops(),
      "graph \"g\" {\n"
      "  dim N in 0..1000000\n"
      "  %0 = input {dims = <N, 16>, dtype = f32, name = \"x\"} : f32[N, 16]\n"
      "  %1 = state {dims = <16, 64>, dtype = f32, name = \"w\"} : f32[16, 64]\n"
      "  %2 = matmul(%0, %1) {activation = \"\", transpose_a = false, transpose_b = false} : f32[N, 64]\n"
      "  %3 = exp(%2) : f32[N, 64]\n"
      "  return \"y\" = %3\n}\n")});
  std::unique_ptr<Device> device_ = open_test_device(1);
  State state_{device_.get()};
  std::unique_ptr<Session> session_;
};

TEST_F(SessionMemory, IsWhatItNeedsAndNoMore) {
  const size_t before = device_->memory_in_use();
  const Session::Needs needs = session_->needs("g", {{"N", 100}});
  EXPECT_EQ(device_->memory_in_use(), before);
  EXPECT_GE(needs.arena, 100u * 64 * 4);
  run(100);
  EXPECT_EQ(session_->arena_bytes(), needs.arena);
  EXPECT_EQ(device_->memory_in_use(), before + needs.arena + needs.packed);
  EXPECT_EQ(session_->packed_bytes(), needs.packed);
  EXPECT_EQ(session_->needs("g", {{"N", 100}}).packed, 0u);  // done already
  session_->trim();
  EXPECT_EQ(device_->memory_in_use(), before);
}

TEST_F(SessionMemory, ThatIsRefusedLeavesTheSessionUsable) {
  const std::vector<float> small = run(10), large = run(2000);
  session_->trim();
  for (int round = 0; round < 3; ++round) run(10);  // recorded, where there are recordings
  device_->set_memory_limit(device_->memory_in_use() + 4096);
  for (int round = 0; round < 3; ++round) {
    EXPECT_THAT(out_of_memory([&] { run(2000); }), HasSubstr("above the memory limit of"));
    EXPECT_EQ(run(10), small);
    EXPECT_EQ(run(10), small);
  }
  device_->set_memory_limit(Device::kNoLimit);
  EXPECT_EQ(run(2000), large);
  EXPECT_EQ(run(10), small);
}

TEST_F(SessionMemory, ThatIsReservedIsNotAskedForAgain) {
  const std::vector<float> large = run(2000);
  session_->trim();
  const Session::Needs needs = session_->needs("g", {{"N", 2000}});
  session_->reserve(needs.arena);
  device_->set_memory_limit(device_->memory_in_use() + needs.packed);
  run(10);
  EXPECT_EQ(run(2000), large);
}

}  // namespace
}  // namespace floe

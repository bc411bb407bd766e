#include "device/cpu/cpu_device.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"

namespace floe {
namespace {

struct HostMark : Device::Mark {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now();
  double seconds_since(const Mark& earlier) const override {
    return std::chrono::duration<double>(at - static_cast<const HostMark&>(earlier).at).count();
  }
};

}  // namespace

void* CpuDevice::allocate_memory(size_t bytes) {
  constexpr size_t kAlign = 256;
  void* memory = std::aligned_alloc(kAlign, (bytes + kAlign - 1) / kAlign * kAlign);
  if (memory == nullptr)
    throw OutOfMemory(
        fmt::format("{}: {} asked for, and the system has no more", name(), rounded_bytes(bytes)));
  return memory;
}

void CpuDevice::release_memory(void* memory) noexcept { std::free(memory); }

void CpuDevice::upload(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
}

std::unique_ptr<Device::Mark> CpuDevice::mark() { return std::make_unique<HostMark>(); }

void CpuDevice::zero(void* to, size_t bytes) {
  if (bytes > 0) std::memset(to, 0, bytes);
}

}  // namespace floe

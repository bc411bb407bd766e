#include "device/cpu/cpu_device.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

namespace floe {
namespace {

// Each block knows its size, in a line of its own in front.
constexpr size_t kHeader = 256;

struct HostMark : Device::Mark {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now();
  double seconds_since(const Mark& earlier) const override {
    return std::chrono::duration<double>(at - static_cast<const HostMark&>(earlier).at).count();
  }
};

}  // namespace

void* CpuDevice::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  const size_t whole = (bytes + kHeader - 1) / kHeader * kHeader + kHeader;
  auto* memory = static_cast<char*>(std::aligned_alloc(kHeader, whole));
  if (memory == nullptr) throw std::bad_alloc();
  std::memcpy(memory, &bytes, sizeof(bytes));
  in_use_ += bytes;
  return memory + kHeader;
}

void CpuDevice::release(void* memory) noexcept {
  if (memory == nullptr) return;
  char* start = static_cast<char*>(memory) - kHeader;
  size_t bytes = 0;
  std::memcpy(&bytes, start, sizeof(bytes));
  in_use_ -= bytes;
  std::free(start);
}

void CpuDevice::upload(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
}

std::unique_ptr<Device::Mark> CpuDevice::mark() { return std::make_unique<HostMark>(); }

void CpuDevice::zero(void* to, size_t bytes) {
  if (bytes > 0) std::memset(to, 0, bytes);
}

}  // namespace floe

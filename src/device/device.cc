#include "device/device.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "device/cpu/cpu_device.h"

namespace floe {

void parse(std::string_view text, DeviceKind* kind) {
  for (const DeviceKind each : {DeviceKind::cpu, DeviceKind::cuda}) {
    if (text == name_of(each)) {
      *kind = each;
      return;
    }
  }
  fail_user("'{}' is none of cpu, cuda", text);
}

std::unique_ptr<Device::Module> Device::build(const std::string&) {
  fail_bug(__FILE__, __LINE__, fmt::format("{} compiles no source", name()));
}

void Device::claim(size_t bytes) {
  size_t used = in_use_;
  do {
    if (bytes > limit_ || used > limit_ - bytes) {
      throw OutOfMemory(fmt::format("{}: {} asked for with {} in use, above the memory limit of {}", name(),
                                    rounded_bytes(bytes), rounded_bytes(used), rounded_bytes(limit_)));
    }
  } while (!in_use_.compare_exchange_weak(used, used + bytes));
}

void* Device::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  claim(bytes);
  try {
    return allocate_memory(bytes);
  } catch (...) {
    unclaim(bytes);
    throw;
  }
}

void Device::release(void* memory, size_t bytes) noexcept {
  if (memory == nullptr) return;
  release_memory(memory);
  unclaim(bytes);
}

size_t Device::memory_available() const {
  const size_t limit = limit_, used = in_use_;
  const size_t below = limit == kNoLimit ? kNoLimit : limit - std::min(limit, used);
  return std::min(below, free_memory());
}

MemoryClaim& MemoryClaim::operator=(MemoryClaim&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void DeviceBuffer::reset() noexcept {
  if (data_ != nullptr) device_->release(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

std::unique_ptr<Device> open_device(DeviceKind kind, int threads) {
  if (kind == DeviceKind::cuda) return open_cuda_device();
  return std::make_unique<CpuDevice>(threads);
}

#ifndef FLOE_CUDA
std::unique_ptr<Device> open_cuda_device(int) {
  throw Error(ErrorKind::device, "device cuda: this build has no CUDA (configure with -DFLOE_CUDA=ON)");
}

bool has_cuda_device(std::string* why_not) {
  if (why_not != nullptr) *why_not = "this build has no CUDA";
  return false;
}
#endif

}  // namespace floe

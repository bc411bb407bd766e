#include "device/device.h"

#include <utility>

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

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void DeviceBuffer::reset() noexcept {
  if (data_ != nullptr) device_->release(data_);
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

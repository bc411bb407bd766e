// One GPU: its memory, one stream, recordings as CUDA graphs.
#pragma once

#include "device/cuda/check.h"
#include "device/device.h"

namespace floe {

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int ordinal);  // throws Error{device}
  ~CudaDevice() override;

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string name() const override { return name_; }

  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void zero(void* to, size_t bytes) override;
  void wait() override;
  std::unique_ptr<Mark> mark() override;
  void* allocate_host(size_t bytes) override;
  void release_host(void* memory) noexcept override;
  std::unique_ptr<Recording> record(const std::function<void()>& queue) override;
  std::unique_ptr<Module> build(const std::string& source) override;
  void* stream() const override { return stream_; }
  size_t reported_in_use() const override;

 protected:
  void* allocate_memory(size_t bytes) override;
  void release_memory(void* memory) noexcept override;
  size_t free_memory() const override;

 private:
  int ordinal_;
  int sm_ = 0;
  std::string name_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace floe

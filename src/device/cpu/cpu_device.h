// The host as a device: memory is the process's, everything happens at once, kernels share one pool.
#pragma once
#include "device/cpu/thread_pool.h"
#include "device/device.h"

namespace floe {

class CpuDevice : public Device {
 public:
  explicit CpuDevice(ThreadPool& pool) : pool_(&pool) {}  // which must outlive the device
  explicit CpuDevice(int threads) : own_(std::make_unique<ThreadPool>(threads)), pool_(own_.get()) {}

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string name() const override { return "cpu"; }
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override { upload(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { upload(to, from, bytes); }
  void zero(void* to, size_t bytes) override;
  void wait() override {}
  std::unique_ptr<Mark> mark() override;
  void* allocate_host(size_t bytes) override { return bytes == 0 ? nullptr : allocate_memory(bytes); }
  void release_host(void* memory) noexcept override { release_memory(memory); }
  std::unique_ptr<Recording> record(const std::function<void()>&) override { return nullptr; }
  ThreadPool* pool() const override { return pool_; }

 protected:
  void* allocate_memory(size_t bytes) override;
  void release_memory(void* memory) noexcept override;

 private:
  std::unique_ptr<ThreadPool> own_;
  ThreadPool* pool_;
};

}  // namespace floe

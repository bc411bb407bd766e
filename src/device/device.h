// What a program runs on: memory, and one queue in which copies and kernels happen in the order they were
// asked for. The CPU's memory is the host's and its queue is the caller; a GPU's work goes on after a call
// has returned, until wait().
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace floe {

class ThreadPool;

enum class DeviceKind { cpu, cuda };

constexpr std::string_view name_of(DeviceKind kind) { return kind == DeviceKind::cpu ? "cpu" : "cuda"; }
void parse(std::string_view text, DeviceKind* kind);  // throws Error{user} listing the names

class Device {
 public:
  // Work that was recorded once and is queued again with one call.
  class Recording {
   public:
    virtual ~Recording() = default;
    virtual void play() = 0;
  };

  // A point in the queue.
  class Mark {
   public:
    virtual ~Mark() = default;
    virtual void wait() {}                                        // until what was queued before it is done
    virtual double seconds_since(const Mark& earlier) const = 0;  // of the device's time; both done
  };

  // Kernels that were compiled from text while the program runs.
  class Module {
   public:
    virtual ~Module() = default;
    virtual void* function(const std::string& name) const = 0;  // a cudaKernel_t; throws bug naming it
  };

  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;  // "NVIDIA H100 80GB HBM3"
  bool on_host() const { return kind() == DeviceKind::cpu; }

  // Not zeroed, aligned to 256 bytes; null for 0 bytes. Throws OutOfMemory with the bytes asked for and those
  // in use with their limit, or those free.
  void* allocate(size_t bytes);
  void release(void* memory, size_t bytes) noexcept;
  // Counts host memory that its owner got elsewhere as used on this device. Throws as allocate() does.
  void claim(size_t bytes);
  void unclaim(size_t bytes) noexcept { in_use_.fetch_sub(bytes); }

  // From now on nothing is given that would take what is in use above the limit. Counted is, on the CPU and a
  // GPU alike, what programs run on: tensors of a State, a session's arena (values, workspaces, feeds on a
  // GPU), weights packed for its kernels, and on a GPU a program's constants. Not counted is what the host
  // holds beside them, such as text, batches and a model or checkpoint while it is read or written, and what
  // driver and libraries take for themselves, such as code and recordings.
  void set_memory_limit(size_t bytes) { limit_ = bytes; }
  size_t memory_limit() const { return limit_; }
  size_t memory_in_use() const { return in_use_; }
  // What can still be had: below the limit and, on a GPU, free. kNoLimit: nobody knows of a bound.
  size_t memory_available() const;
  static constexpr size_t kNoLimit = SIZE_MAX;

  // Queued. `from` of upload() must stay as it is until the copy is done, `to` of download() is filled only
  // then.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void zero(void* to, size_t bytes) = 0;
  // Until everything queued so far is done. Throws Error{device} when any of it failed.
  virtual void wait() = 0;
  // Within record() the mark is part of the recording, and every play() sets it anew.
  virtual std::unique_ptr<Mark> mark() = 0;

  // Host memory that the device reaches directly, for copies that must not wait; freed by release_host().
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void release_host(void* memory) noexcept = 0;

  // Runs `queue`, whose calls are recorded and not carried out. Null where the device cannot record.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& queue) = 0;

  // Compiles `source`, or finds it compiled. Throws Error{device} with the compiler's words.
  virtual std::unique_ptr<Module> build(const std::string& source);

  virtual void* stream() const { return nullptr; }      // a cudaStream_t
  virtual ThreadPool* pool() const { return nullptr; }  // the CPU's

  // As the device itself reports it, of all that runs on it. 0 on the CPU.
  virtual size_t reported_in_use() const { return 0; }

 protected:
  virtual void* allocate_memory(size_t bytes) = 0;  // above 0; throws OutOfMemory
  virtual void release_memory(void* memory) noexcept = 0;
  virtual size_t free_memory() const { return kNoLimit; }

 private:
  std::atomic<size_t> limit_ = kNoLimit;
  std::atomic<size_t> in_use_ = 0;
};

// Memory of a device, released with the object.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device& device, size_t bytes)
      : device_(&device), data_(device.allocate(bytes)), bytes_(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer() { reset(); }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void reset() noexcept;

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Bytes that a device counts as used for as long as the object lives.
class MemoryClaim {
 public:
  MemoryClaim() = default;
  MemoryClaim(Device& device, size_t bytes) : device_(&device), bytes_(bytes) { device.claim(bytes); }
  MemoryClaim(MemoryClaim&& other) noexcept { *this = std::move(other); }
  MemoryClaim& operator=(MemoryClaim&& other) noexcept;
  ~MemoryClaim() {
    if (device_ != nullptr) device_->unclaim(bytes_);
  }

 private:
  Device* device_ = nullptr;
  size_t bytes_ = 0;
};

// The CPU with a pool of so many threads, or a GPU. Throws as open_cuda_device() does.
std::unique_ptr<Device> open_device(DeviceKind kind, int threads);
// The GPU of that number. Throws Error{device} saying what is missing: this build's CUDA part, the driver, or
// the device.
std::unique_ptr<Device> open_cuda_device(int ordinal = 0);
bool has_cuda_device(std::string* why_not = nullptr);

}  // namespace floe

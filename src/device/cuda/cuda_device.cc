#include "device/cuda/cuda_device.h"

#include "base/bytes.h"
#include "base/error.h"

namespace floe {

void check_cuda(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky must not meet the next call
  if (code == cudaErrorMemoryAllocation)
    throw OutOfMemory(fmt::format("{}: {}", what, cudaGetErrorString(code)));
  throw Error(ErrorKind::device, fmt::format("{}: {}", what, cudaGetErrorString(code)));
}

namespace {

class CudaRecording : public Device::Recording {
 public:
  CudaRecording(cudaGraph_t graph, cudaStream_t stream) : stream_(stream) {
    const cudaError_t code = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check_cuda(code, "cudaGraphInstantiate");
  }
  ~CudaRecording() override { cudaGraphExecDestroy(executable_); }
  void play() override { FLOE_CUDA_CALL(cudaGraphLaunch(executable_, stream_)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
  cudaStream_t stream_;
};

struct CudaMark : Device::Mark {
  explicit CudaMark(cudaStream_t stream) {
    FLOE_CUDA_CALL(cudaEventCreate(&event));
    // While a graph is recorded a plain record would be a dependency only, which no clock ever stamps.
    cudaStreamCaptureStatus status{};
    FLOE_CUDA_CALL(cudaStreamIsCapturing(stream, &status));
    const bool captured = status == cudaStreamCaptureStatusActive;
    FLOE_CUDA_CALL(
        cudaEventRecordWithFlags(event, stream, captured ? cudaEventRecordExternal : cudaEventRecordDefault));
  }
  ~CudaMark() override { cudaEventDestroy(event); }
  void wait() override { FLOE_CUDA_CALL(cudaEventSynchronize(event)); }
  double seconds_since(const Mark& earlier) const override {
    float milliseconds = 0;
    FLOE_CUDA_CALL(cudaEventElapsedTime(&milliseconds, static_cast<const CudaMark&>(earlier).event, event));
    return 1e-3 * static_cast<double>(milliseconds);
  }
  cudaEvent_t event = nullptr;
};

}  // namespace

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal) {
  FLOE_CUDA_CALL(cudaSetDevice(ordinal));
  cudaDeviceProp properties{};
  FLOE_CUDA_CALL(cudaGetDeviceProperties(&properties, ordinal));
  name_ = properties.name;
  sm_ = properties.major * 10 + properties.minor;
  if (sm_ < 80) {
    throw Error(ErrorKind::device, fmt::format("{} has compute capability {}.{}; 8.0 is needed", name_,
                                               properties.major, properties.minor));
  }
  FLOE_CUDA_CALL(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaDevice::~CudaDevice() { cudaStreamDestroy(stream_); }

void* CudaDevice::allocate_memory(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, bytes);
  if (code == cudaSuccess) return memory;
  cudaGetLastError();
  // A kernel that failed earlier fails every later call too: that is told as what it is.
  if (code != cudaErrorMemoryAllocation) check_cuda(code, "cudaMalloc");
  size_t available = 0, total = 0;
  FLOE_CUDA_CALL(cudaMemGetInfo(&available, &total));
  throw OutOfMemory(fmt::format("{}: {} asked for with {} in use here; {} of {} are free", name_,
                                rounded_bytes(bytes), rounded_bytes(memory_in_use() - bytes),
                                rounded_bytes(available), rounded_bytes(total)));
}

size_t CudaDevice::free_memory() const {
  size_t available = 0, total = 0;
  FLOE_CUDA_CALL(cudaMemGetInfo(&available, &total));
  return available;
}

// Waits for what still uses the memory.
void CudaDevice::release_memory(void* memory) noexcept { cudaFree(memory); }

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  if (bytes > 0) FLOE_CUDA_CALL(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
}

void CudaDevice::download(void* to, const void* from, size_t bytes) {
  if (bytes > 0) FLOE_CUDA_CALL(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) FLOE_CUDA_CALL(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
}

void CudaDevice::zero(void* to, size_t bytes) {
  if (bytes > 0) FLOE_CUDA_CALL(cudaMemsetAsync(to, 0, bytes, stream_));
}

void CudaDevice::wait() {
  FLOE_CUDA_CALL(cudaStreamSynchronize(stream_));
  FLOE_CUDA_CALL(cudaGetLastError());
}

std::unique_ptr<Device::Mark> CudaDevice::mark() { return std::make_unique<CudaMark>(stream_); }

size_t CudaDevice::reported_in_use() const {
  size_t available = 0, total = 0;
  FLOE_CUDA_CALL(cudaMemGetInfo(&available, &total));
  return total - available;
}

void* CudaDevice::allocate_host(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  const cudaError_t code = cudaMallocHost(&memory, bytes);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemory(fmt::format("{}: {} of page-locked host memory asked for, and there is no more", name_,
                                  rounded_bytes(bytes)));
  }
  check_cuda(code, "cudaMallocHost");
  return memory;
}

void CudaDevice::release_host(void* memory) noexcept {
  if (memory != nullptr) cudaFreeHost(memory);
}

std::unique_ptr<Device::Recording> CudaDevice::record(const std::function<void()>& queue) {
  FLOE_CUDA_CALL(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    queue();
  } catch (...) {
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  FLOE_CUDA_CALL(cudaStreamEndCapture(stream_, &graph));
  return std::make_unique<CudaRecording>(graph, stream_);
}

std::unique_ptr<Device> open_cuda_device(int ordinal) {
  std::string why_not;
  if (!has_cuda_device(&why_not)) throw Error(ErrorKind::device, "device cuda: " + why_not);
  int count = 0;
  FLOE_CUDA_CALL(cudaGetDeviceCount(&count));
  if (ordinal < 0 || ordinal >= count) {
    throw Error(ErrorKind::device,
                fmt::format("device cuda: there is no device {}; there are {}", ordinal, count));
  }
  return std::make_unique<CudaDevice>(ordinal);
}

bool has_cuda_device(std::string* why_not) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return true;
  cudaGetLastError();
  if (why_not != nullptr) *why_not = code == cudaSuccess ? "no device was found" : cudaGetErrorString(code);
  return false;
}

}  // namespace floe

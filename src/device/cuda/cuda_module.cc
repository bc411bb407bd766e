// Kernels from text on a GPU. A library of the run time's own API: no call of the driver is needed, and a
// kernel of it is launched like one that was linked.
#include "base/error.h"
#include "device/cuda/cache_folder.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/nvrtc.h"

namespace floe {
namespace {

class CudaModule : public Device::Module {
 public:
  CudaModule(int ordinal, std::string code) : ordinal_(ordinal), code_(std::move(code)) {
    FLOE_CUDA_CALL(cudaSetDevice(ordinal_));
    FLOE_CUDA_CALL(cudaLibraryLoadData(&library_, code_.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
  }
  ~CudaModule() override { cudaLibraryUnload(library_); }

  void* function(const std::string& name) const override {
    cudaKernel_t kernel = nullptr;
    const cudaError_t code = cudaLibraryGetKernel(&kernel, library_, name.c_str());
    if (code != cudaSuccess) {
      cudaGetLastError();
      fail_bug(__FILE__, __LINE__,
               fmt::format("no kernel '{}' was built: {}", name, cudaGetErrorString(code)));
    }
    return kernel;
  }

 private:
  int ordinal_;
  std::string code_;  // may be read as long as the library is there
  cudaLibrary_t library_ = nullptr;
};

}  // namespace

std::unique_ptr<Device::Module> CudaDevice::build(const std::string& source) {
  return std::make_unique<CudaModule>(ordinal_,
                                      compile_cached(Nvrtc::shared(), source, sm_, kernel_cache_folder()));
}

}  // namespace floe

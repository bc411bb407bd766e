// How a kernel is known to the rest: by op, device, and what it supports. Binding happens once for each set
// of shapes (primitives are made, block sizes chosen, attributes read); running happens at every step and
// allocates nothing.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device/device.h"
#include "tensor/attrs.h"
#include "tensor/tensor.h"

namespace floe {

class ThreadPool;

struct KernelSignature {
  std::string_view op;
  std::vector<DType> inputs;
  std::vector<int> ranks;  // of the inputs
  std::vector<DType> outputs;
  const Attrs* attrs;
};

// Shapes and strides are known, `data` is null.
struct KernelCall {
  const Attrs& attrs;  // dims already numbers
  std::span<const View> inputs;
  std::span<const View> outputs;
  int threads;  // of the pool that will run it, for scratch space
  // Bit i: input i is a weight that no entry of the program changes, so it may be packed once
  // (BoundKernel::pack).
  uint32_t frozen_inputs = 0;
  Device* device = nullptr;                // that will run it; null: the CPU
  const Device::Module* module = nullptr;  // built from Program::source, where there is any
};

struct KernelRun {
  std::span<const View> inputs;  // as bound, with data
  std::span<const View> outputs;
  void* workspace;               // 64-byte aligned, contents undefined
  ThreadPool* pool;              // null on a GPU
  const void* packed = nullptr;  // what BoundKernel::pack made
  // A cudaStream_t. A GPU's kernel only queues its work there: it neither waits nor allocates, and the same
  // calls queue the same work, so that a run can be recorded as a CUDA graph.
  void* stream = nullptr;
};

struct BoundKernel {
  size_t workspace = 0;  // bytes
  std::function<void(const KernelRun&)> run;

  // A frozen input in a form of the kernel's own. The session keeps it and shares it between kernels that
  // give the same key for the same weight; run() then finds it in KernelRun::packed.
  struct Pack {
    int input = -1;   // none
    std::string key;  // what the form depends on: sizes, transposition
    size_t bytes = 0;
    std::function<void(const View& input, void* packed, ThreadPool& pool)> make;
  } pack;
};

struct Kernel {
  std::string op;
  DeviceKind device = DeviceKind::cpu;
  std::string name;  // unique for the device: "layer_norm.f32"
  std::function<bool(const KernelSignature&)> supports;
  std::function<BoundKernel(const KernelCall&)> bind;
  // Bit i: input i may come with strides as long as its last dim is contiguous (a slice of a merged
  // projection). All others are row-major.
  uint32_t strided_inputs = 0;
  // Bit i: output i may come so too, where a concat alone reads it: the kernel then writes what would be
  // copied.
  uint32_t strided_outputs = 0;
  std::vector<std::pair<int, int>> in_place;  // (output, input) that may be the same memory
};

class KernelTable {
 public:
  void add(Kernel kernel);  // later ones of the same op are asked first
  const Kernel* find(DeviceKind device, const KernelSignature& signature) const;
  const Kernel& named(DeviceKind device, std::string_view name) const;  // throws bug
  const std::vector<Kernel>& all() const { return kernels_; }

 private:
  std::vector<Kernel> kernels_;
};

// Generated from the op() lines of src/ops/CMakeLists.txt. A build without CUDA adds none for it.
void add_all_cpu_kernels(KernelTable& table);
void add_all_cuda_kernels(KernelTable& table);
void add_all_kernels(DeviceKind device, KernelTable& table);

}  // namespace floe

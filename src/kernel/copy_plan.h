// A copy of elements between two layouts of the same dims: transposes, slices, parts of a concatenation,
// broadcasts (source stride 0).
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "tensor/tensor.h"

namespace floe {

struct CopyPlan {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims{};
  std::array<int64_t, kMaxRank> from{}, to{};  // strides in elements
  size_t element = 4;                          // bytes
};

// Drops dims of 1 and joins dims that are one run on both sides. Bind once, run often.
CopyPlan simplify(CopyPlan plan);

// One copy of a kernel that does nothing but copy.
struct Copy {
  CopyPlan plan;
  int input = 0;
  int64_t from = 0, to = 0;  // bytes from the start of the input and of the result
};
using CopiesOf = std::vector<Copy> (*)(const KernelCall& call);

// A kernel of op `op`, of any type, that makes the copies `of` a call one after the other by `run`.
using RunCopy = void (*)(const CopyPlan& plan, const void* from, void* to, const KernelRun& run);
struct CopyKernel {
  std::string op;
  CopiesOf of;
  uint32_t strided_inputs = 1;
};
Kernel copy_kernel(const CopyKernel& what, DeviceKind device, RunCopy run);

}  // namespace floe

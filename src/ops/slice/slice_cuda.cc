#include "kernel/cuda/strided_copy.h"
#include "ops/slice/slice_kernel.h"

namespace floe {

void add_slice_cuda(KernelTable& table) { add_copy_kernel_cuda(table, slice_kernel()); }

}  // namespace floe

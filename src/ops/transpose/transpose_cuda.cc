#include "kernel/cuda/strided_copy.h"
#include "ops/transpose/transpose_kernel.h"

namespace floe {

void add_transpose_cuda(KernelTable& table) { add_copy_kernel_cuda(table, transpose_kernel()); }

}  // namespace floe

#include "kernel/cuda/strided_copy.h"
#include "ops/concat/concat_kernel.h"

namespace floe {

void add_concat_cuda(KernelTable& table) { add_copy_kernel_cuda(table, concat_kernel()); }

}  // namespace floe

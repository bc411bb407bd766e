#include "kernel/cpu/strided_copy.h"
#include "ops/transpose/transpose_kernel.h"

namespace floe {

void add_transpose_cpu(KernelTable& table) { add_copy_kernel_cpu(table, transpose_kernel()); }

}  // namespace floe

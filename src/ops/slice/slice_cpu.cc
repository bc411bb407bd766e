#include "kernel/cpu/strided_copy.h"
#include "ops/slice/slice_kernel.h"

namespace floe {

void add_slice_cpu(KernelTable& table) { add_copy_kernel_cpu(table, slice_kernel()); }

}  // namespace floe

#include "kernel/cpu/strided_copy.h"
#include "ops/concat/concat_kernel.h"

namespace floe {

void add_concat_cpu(KernelTable& table) { add_copy_kernel_cpu(table, concat_kernel()); }

}  // namespace floe

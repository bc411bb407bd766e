// Carries out a copy plan on the GPU.
#pragma once
#include "kernel/copy_plan.h"

namespace floe {

// Queued on `stream` (KernelRun::stream): one kernel, none for 0 elements. The plan is best simplified.
void queue_strided_copy(const CopyPlan& plan, const void* from, void* to, void* stream);

void add_copy_kernel_cuda(KernelTable& table, const CopyKernel& what);

}  // namespace floe

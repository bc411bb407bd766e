// Carries out a copy plan on the CPU.
#pragma once
#include "kernel/copy_plan.h"

namespace floe {

class ThreadPool;

void strided_copy(const CopyPlan& plan, const void* from, void* to, ThreadPool& pool);

void add_copy_kernel_cpu(KernelTable& table, const CopyKernel& what);

}  // namespace floe

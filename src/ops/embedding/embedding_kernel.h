// The parts of add_embedding_cuda.
#pragma once
#include "kernel/kernel.h"

namespace floe {

void add_embedding_sum_cuda(KernelTable& table);

}  // namespace floe

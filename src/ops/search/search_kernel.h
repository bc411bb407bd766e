// The parts of add_search_cpu.
#pragma once
#include "kernel/kernel.h"

namespace floe {

void add_search_penalties_cpu(KernelTable& table);
void add_beam_cpu(KernelTable& table);
void add_sample_cpu(KernelTable& table);

}  // namespace floe

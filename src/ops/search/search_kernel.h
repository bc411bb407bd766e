// The parts of add_search_cpu and add_search_cuda.
#pragma once
#include "kernel/kernel.h"

namespace floe {

void add_search_penalties_cpu(KernelTable& table);
void add_beam_cpu(KernelTable& table);
void add_sample_cpu(KernelTable& table);
void add_turn_cpu(KernelTable& table);  // search_turn, search_keep

void add_search_penalties_cuda(KernelTable& table);
void add_beam_candidates_cuda(KernelTable& table);
void add_beam_state_cuda(KernelTable& table);  // beam_advance, beam_rows
void add_sample_cuda(KernelTable& table);
void add_turn_cuda(KernelTable& table);
void add_search_choice_cuda(KernelTable& table);
void add_search_begin_cuda(KernelTable& table);

}  // namespace floe

// The GPU's kernels of every op of this folder.
#include "ops/search/search_kernel.h"

namespace floe {

void add_search_cuda(KernelTable& table) {
  add_search_penalties_cuda(table);
  add_beam_candidates_cuda(table);
  add_beam_state_cuda(table);
  add_sample_cuda(table);
  add_turn_cuda(table);
  add_search_choice_cuda(table);
  add_search_begin_cuda(table);
}

}  // namespace floe

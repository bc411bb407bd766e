// The CPU kernels of every op of this folder.
#include "ops/search/search_kernel.h"

namespace floe {

void add_search_cpu(KernelTable& table) {
  add_search_penalties_cpu(table);
  add_beam_cpu(table);
  add_sample_cpu(table);
  add_turn_cpu(table);
}

}  // namespace floe

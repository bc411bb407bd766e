// Runs a plan of kernel/cpu/tile_plan.h.
#pragma once
#include <span>

#include "kernel/cpu/tile_plan.h"

namespace floe {

class ThreadPool;

struct TileJob {
  const TilePlan& plan;
  std::span<const View> inputs, outputs;
  char* workspace;
};

// Views as planned, with data; `workspace` has scratch_bytes for each thread of the pool, 64-byte aligned.
// Allocates nothing. Throws Error{user} on an integer division by zero.
void run_tiles(const TilePlan& plan, std::span<const View> inputs, std::span<const View> outputs,
               void* workspace, ThreadPool& pool);

}  // namespace floe

// search_turn and search_keep on the GPU: a launch each. A turn is one block's work, since every row reads
// the clock that it sets.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/search_kernel.h"
#include "ops/search/states_cuda.cuh"

namespace floe {
namespace {

constexpr int kMostThreads = 1024;
constexpr int kThreads = 256;

__global__ void __launch_bounds__(kMostThreads) turn_kernel(const __grid_constant__ TurnCall call) {
  let_next_start();
  wait_for_previous();
  turn_block(call);
}

struct KeepCall {
  const int32_t *old_rows, *old_tokens;
  const float* old_scores;
  const int32_t *rows, *tokens;
  const float* scores;
  int32_t *rows_out, *tokens_out;
  float* scores_out;
  int64_t count, lines;  // rows, and those of the states
  bool in_place;
};

// A count beyond the states' lines is cut there: nothing outside is written.
__global__ void __launch_bounds__(kThreads) keep_kernel(const __grid_constant__ KeepCall call) {
  let_next_start();
  wait_for_previous();
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= call.lines) return;
  const bool now = r < call.count;
  if (!now && call.in_place) return;
  call.rows_out[r] = now ? call.rows[r] : call.old_rows[r];
  call.tokens_out[r] = now ? call.tokens[r] : call.old_tokens[r];
  call.scores_out[r] = now ? call.scores[r] : call.old_scores[r];
}

void run_turn(const KernelRun& run, int64_t beam) { queue_turn(turn_call(run, beam), run.stream); }

void run_keep(const KernelRun& run) {
  bool in_place = true;
  for (size_t k = 0; k < 3; ++k) in_place = in_place && run.outputs[k].data == run.inputs[k].data;
  const KeepCall call{run.inputs[0].as<int32_t>(),  run.inputs[1].as<int32_t>(),  run.inputs[2].as<float>(),
                      run.inputs[3].as<int32_t>(),  run.inputs[4].as<int32_t>(),  run.inputs[5].as<float>(),
                      run.outputs[0].as<int32_t>(), run.outputs[1].as<int32_t>(), run.outputs[2].as<float>(),
                      run.inputs[3].dim(0),         run.inputs[0].dim(0),         in_place};
  const int64_t work = in_place ? std::min(call.count, call.lines) : call.lines;
  launch("search_keep", keep_kernel,
         {.grid = dim3(blocks_for(work, kThreads)), .block = dim3(kThreads), .overlap = true}, run.stream,
         call);
}

}  // namespace

void queue_turn(const TurnCall& call, void* stream) {
  const int64_t threads = std::clamp<int64_t>((call.row_count + 31) / 32 * 32, 32, kMostThreads);
  launch("search_turn", turn_kernel,
         {.grid = dim3(1), .block = dim3(static_cast<unsigned>(threads)), .overlap = true}, stream, call);
}

void add_turn_cuda(KernelTable& table) { add_turn(table, DeviceKind::cuda, run_turn, run_keep); }

}  // namespace floe

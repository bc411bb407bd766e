// search_begin on the GPU. Few entries are one block's work, since every line of the states waits for the
// turn and every row of the turn for the clock: one launch. More of them are carried by many blocks after the
// turn's.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/search_kernel.h"
#include "ops/search/states_cuda.cuh"

namespace floe {
namespace {

constexpr int kMostThreads = 1024;
constexpr int64_t kFewEntries = 8192;  // of a state: eight a thread

struct BeginCall {
  TurnCall turn;
  RowsCall states[2];
};

// States are changed in place.
__global__ void __launch_bounds__(kMostThreads) begin_kernel(const __grid_constant__ BeginCall call) {
  let_next_start();
  wait_for_previous();
  turn_block(call.turn);
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const RowsCall& state = call.states[k];
    const auto width = static_cast<uint32_t>(state.width);
    const auto entries = static_cast<uint32_t>(state.count) * width;
    int32_t* __restrict__ current = state.current;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < entries; i += blockDim.x)
      current[i] = entry_of(state, i / width, i % width);
  }
  __syncthreads();  // every line has been read
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const RowsCall& state = call.states[k];
    const auto entries = static_cast<uint32_t>(::min(state.count, state.lines) * state.width);
    for (uint32_t i = threadIdx.x; i < entries; i += blockDim.x) state.out[i] = state.current[i];
  }
}

// Operands: those of search_turn, the table's state, the history's. Results: search_turn's, then of both the
// state and its first lines.
enum { kTableState = 13, kHistoryState };
enum { kRows = 1, kTokens, kPositions = 4, kSlots = 6, kPast, kTable = 10, kHistory = 12 };

void run_begin(const KernelRun& run, int64_t beam) {
  const auto& out = run.outputs;
  const BeginCall call{turn_call(run, beam),
                       {rows_call(run.inputs[kTableState], out[kRows], out[kPositions], out[kSlots],
                                  out[kTable], out[kTable + 1]),
                        rows_call(run.inputs[kHistoryState], out[kRows], out[kPast], out[kTokens],
                                  out[kHistory], out[kHistory + 1])}};
  const int64_t entries = call.turn.row_count * std::max(call.states[0].width, call.states[1].width);
  const bool in_place = std::ranges::all_of(call.states, [](const RowsCall& s) { return s.out == s.state; });
  if (!in_place || entries > kFewEntries || call.turn.row_count > kFewEntries) {
    queue_turn(call.turn, run.stream);
    return queue_rows(call.states, run.stream);
  }
  const int64_t threads = std::clamp<int64_t>((entries + 31) / 32 * 32, 32, kMostThreads);
  launch("search_begin", begin_kernel,
         {.grid = dim3(1), .block = dim3(static_cast<unsigned>(threads)), .overlap = true}, run.stream, call);
}

}  // namespace

void add_search_begin_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = kernel.name = "search_begin";
  kernel.device = DeviceKind::cuda;
  kernel.supports = [](const KernelSignature&) { return true; };
  kernel.bind = [](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [beam](const KernelRun& run) { run_begin(run, beam); }, {}};
  };
  table.add(std::move(kernel));
}

}  // namespace floe

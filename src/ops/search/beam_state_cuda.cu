// beam_advance and beam_rows on the GPU: one launch each; one, too, for beam_rows of two states.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/advance_cuda.cuh"
#include "ops/search/search_kernel.h"
#include "ops/search/states_cuda.cuh"

namespace floe {
namespace {

// ---- beam_advance: a warp a sentence

constexpr int kSentencesPerBlock = 4;

__global__ void __launch_bounds__(32 * kSentencesPerBlock)
    advance_kernel(const __grid_constant__ AdvanceCall call) {
  let_next_start();
  wait_for_previous();
  const int64_t s = static_cast<int64_t>(blockIdx.x) * kSentencesPerBlock + threadIdx.x / 32;
  if (s >= call.sentences) return;  // a warp as a whole
  advance_sentence(call, s, call.rows + s * call.beam);
}

void run_advance(const KernelRun& run, int64_t beam_in) {
  const AdvanceCall call{run.inputs[0].as<float>(),    run.inputs[1].as<int32_t>(),
                         run.inputs[2].as<int32_t>(),  run.inputs[3].as<int32_t>(),
                         run.inputs[4].as<int32_t>(),  run.outputs[0].as<int32_t>(),
                         run.outputs[1].as<int32_t>(), run.outputs[2].as<float>(),
                         run.outputs[3].as<int32_t>(), run.outputs[4].as<int32_t>(),
                         run.inputs[0].dim(0),         run.inputs[0].dim(1),
                         run.inputs[3].dim(1),         beam_in,
                         run.outputs[3].dim(1),        run.outputs[0].dim(0)};
  launch("beam_advance", advance_kernel,
         {.grid = dim3(blocks_for(call.sentences, kSentencesPerBlock)),
          .block = dim3(32 * kSentencesPerBlock),
          .overlap = true},
         run.stream, call);
}

// ---- beam_rows: a block has some columns of all lines, so it may overwrite a line once it has read them all

constexpr int kColumns = 8;  // a sector of 32 bytes
constexpr int kMostThreads = 1024;

// Of one state or, blockIdx.y, two.
struct StatesCall {
  RowsCall states[2];
};

__global__ void __launch_bounds__(kMostThreads) rows_kernel(const __grid_constant__ StatesCall states) {
  let_next_start();
  wait_for_previous();
  const RowsCall& call = states.states[blockIdx.y];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x % kColumns;
  const int64_t first = threadIdx.x / kColumns;
  const int64_t stride = blockDim.x / kColumns;
  const bool inside = column < call.width;
  int32_t* __restrict__ current = call.current;
#pragma unroll 4
  for (int64_t r = first; r < call.count; r += stride) {
    if (!inside) continue;
    current[r * call.width + column] = entry_of(call, r, column);
  }
  __syncthreads();
  for (int64_t r = first; r < call.lines; r += stride) {
    if (!inside) continue;
    const int64_t at = r * call.width + column;
    if (r < call.count) {
      call.out[at] = current[at];  // this thread wrote it
    } else if (call.out != call.state) {
      call.out[at] = call.state[at];
    } else {
      break;
    }
  }
}

void run_rows(const KernelRun& run) {
  const RowsCall call =
      rows_call(run.inputs[0], run.inputs[1], run.inputs[2], run.inputs[3], run.outputs[0], run.outputs[1]);
  queue_rows({&call, 1}, run.stream);
}

}  // namespace

void queue_rows(std::span<const RowsCall> calls, void* stream) {
  StatesCall states{};
  int64_t work = 0, width = 0;
  for (size_t k = 0; k < calls.size(); ++k) {
    const RowsCall& call = states.states[k] = calls[k];
    work = std::max(work, std::max(call.count, call.out == call.state ? 0 : call.lines) * kColumns);
    width = std::max(width, call.width);
  }
  if (work == 0) return;
  const int64_t threads = std::min<int64_t>(kMostThreads, (work + 31) / 32 * 32);
  launch("beam_rows", rows_kernel,
         {.grid = dim3(blocks_for(width, kColumns), static_cast<unsigned>(calls.size())),
          .block = dim3(static_cast<unsigned>(threads)),
          .overlap = true},
         stream, states);
}

void add_beam_state_cuda(KernelTable& table) {
  Kernel advance;
  advance.op = "beam_advance";
  advance.device = DeviceKind::cuda;
  advance.name = "beam_advance.f32";
  advance.supports = [](const KernelSignature& s) { return s.inputs[0] == DType::f32; };
  advance.bind = [](const KernelCall& call) {
    const int64_t beam_in = call.attrs.integer("beam_in");
    return BoundKernel{0, [beam_in](const KernelRun& run) { run_advance(run, beam_in); }, {}};
  };
  table.add(std::move(advance));

  Kernel rows;
  rows.op = "beam_rows";
  rows.device = DeviceKind::cuda;
  rows.name = "beam_rows.i32";
  rows.in_place = {{0, 0}};
  rows.supports = [](const KernelSignature&) { return true; };
  rows.bind = [](const KernelCall&) { return BoundKernel{0, run_rows, {}}; };
  table.add(std::move(rows));
}

}  // namespace floe

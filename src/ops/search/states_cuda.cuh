// What carries the search's states from row to row: search_turn and beam_rows, as kernels of their own
// (turn_cuda.cu, beam_state_cuda.cu), and together as search_begin (begin_cuda.cu).
#pragma once
#include <span>

#include "kernel/kernel.h"
#include "ops/search/turn_kernel.h"

namespace floe {

struct RowsCall {
  const int32_t* state;
  const int32_t* rows;
  const int32_t* positions;
  const int32_t* entries;
  int32_t* out;  // may be state
  int32_t* current;
  int64_t lines;  // of state
  int64_t width;
  int64_t count;  // of rows
};

inline RowsCall rows_call(const View& state, const View& rows, const View& positions, const View& entries,
                          const View& out, const View& current) {
  return {state.as<int32_t>(),   rows.as<int32_t>(), positions.as<int32_t>(),
          entries.as<int32_t>(), out.as<int32_t>(),  current.as<int32_t>(),
          state.dim(0),          state.dim(1),       current.dim(0)};
}

// What line r of beam_rows has in a column. A row that is not in the state gives -1 in every column.
__device__ inline int32_t entry_of(const RowsCall& call, int64_t r, int64_t column) {
  const int64_t row = call.rows[r];
  const int32_t value = row >= 0 && row < call.lines ? call.state[row * call.width + column] : -1;
  return call.positions[r] == column ? call.entries[r] : value;
}

// By one block, whose threads all see what it writes after a barrier of theirs.
__device__ inline void turn_block(const TurnCall& call) {
  const int32_t epoch = *call.epoch;
  const bool fresh = epoch != call.clock[0];
  const int32_t age = fresh ? 0 : call.clock[1] + 1;
  __syncthreads();
  if (threadIdx.x == 0) {
    call.clock_out[0] = epoch;
    call.clock_out[1] = age;
  }
  for (int64_t r = threadIdx.x; r < call.row_count; r += blockDim.x) turn_row(call, r, fresh, age);
  for (int64_t s = threadIdx.x; s < call.sentences; s += blockDim.x) turn_sentence(call, s, age);
}

void queue_turn(const TurnCall& call, void* stream);
// One or two states, with the same number of rows.
void queue_rows(std::span<const RowsCall> calls, void* stream);

}  // namespace floe

// One row's and one sentence's turn, the same lines on every device.
#pragma once
#include <cmath>
#include <cstdint>
#include <utility>

#include "kernel/kernel.h"

#ifdef __CUDACC__
#define FLOE_ANY_DEVICE __host__ __device__
#else
#define FLOE_ANY_DEVICE
#endif

namespace floe {

struct TurnCall {
  const int32_t* clock;
  const int32_t* epoch;
  const int32_t *rows, *tokens;
  const float* scores;
  const int32_t *start_rows, *start_tokens;
  const float* start_scores;
  const int32_t *start_positions, *first_slots, *limits, *prefix, *prefix_lengths;
  int32_t* clock_out;  // may be clock
  int32_t *rows_out, *tokens_out;
  float* scores_out;
  int32_t *positions, *lengths, *slots, *past, *forced, *phase;
  int64_t beam, row_count, sentences, prefix_width;
};

inline TurnCall turn_call(const KernelRun& run, int64_t beam) {
  const auto ints = [&](size_t input) { return run.inputs[input].as<int32_t>(); };
  const auto to = [&](size_t output) { return run.outputs[output].as<int32_t>(); };
  return {ints(0),
          ints(1),
          ints(2),
          ints(3),
          run.inputs[4].as<float>(),
          ints(5),
          ints(6),
          run.inputs[7].as<float>(),
          ints(8),
          ints(9),
          ints(10),
          ints(11),
          ints(12),
          to(0),
          to(1),
          to(2),
          run.outputs[3].as<float>(),
          to(4),
          to(5),
          to(6),
          to(7),
          to(8),
          to(9),
          beam,
          run.outputs[1].dim(0),
          run.outputs[8].dim(0),
          run.inputs[11].dim(1)};
}

// search_turn by run_turn(run, beam) and search_keep by run_keep(run).
template <class RunTurn, class RunKeep>
void add_turn(KernelTable& table, DeviceKind device, RunTurn run_turn, RunKeep run_keep) {
  Kernel turn;
  turn.op = turn.name = "search_turn";
  turn.device = device;
  turn.supports = [](const KernelSignature&) { return true; };
  turn.bind = [run_turn](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [run_turn, beam](const KernelRun& run) { run_turn(run, beam); }, {}};
  };
  table.add(std::move(turn));

  Kernel keep;
  keep.op = keep.name = "search_keep";
  keep.device = device;
  keep.supports = [](const KernelSignature&) { return true; };
  keep.bind = [run_keep](const KernelCall&) { return BoundKernel{0, run_keep, {}}; };
  table.add(std::move(keep));
}

FLOE_ANY_DEVICE inline void turn_row(const TurnCall& call, int64_t r, bool fresh, int32_t age) {
  const float dead = -INFINITY;
  const int64_t s = r / call.beam;
  const int32_t position = call.start_positions[s] + age;
  const float score = fresh ? call.start_scores[r] : call.scores[r];
  const bool alive = position < call.limits[s] && score != dead;
  call.rows_out[r] = !alive ? 0 : fresh ? call.start_rows[r] : call.rows[r];
  call.tokens_out[r] = !alive ? 0 : fresh ? call.start_tokens[r] : call.tokens[r];
  call.scores_out[r] = alive ? score : dead;
  call.positions[r] = alive ? position : 0;
  call.lengths[r] = alive ? position + 1 : 0;
  call.slots[r] =
      alive ? call.first_slots[s] + static_cast<int32_t>(r % call.beam) * call.limits[s] + position : -1;
  call.past[r] = alive ? position - 1 : -1;
}

FLOE_ANY_DEVICE inline void turn_sentence(const TurnCall& call, int64_t s, int32_t age) {
  const int64_t position = call.start_positions[s] + age;
  const int64_t prefix = call.prefix_lengths[s];
  const bool forced = position < prefix && position < call.prefix_width;
  call.forced[s] = forced ? call.prefix[s * call.prefix_width + position] : -1;
  call.phase[s] = position < prefix ? 0 : position == prefix && prefix > 0 ? 1 : 2;
}

}  // namespace floe

// search_turn and search_keep on the CPU.
#include <cstring>

#include "base/error.h"
#include "ops/search/search_kernel.h"
#include "ops/search/turn_kernel.h"

namespace floe {
namespace {

void run_turn(const KernelRun& run, int64_t beam) {
  const TurnCall call = turn_call(run, beam);
  const bool fresh = *call.epoch != call.clock[0];
  const int32_t age = fresh ? 0 : call.clock[1] + 1;
  call.clock_out[0] = *call.epoch;
  call.clock_out[1] = age;
  for (int64_t r = 0; r < call.row_count; ++r) turn_row(call, r, fresh, age);
  for (int64_t s = 0; s < call.sentences; ++s) turn_sentence(call, s, age);
}

void run_keep(const KernelRun& run) {
  for (size_t k = 0; k < 3; ++k) {
    const View &old = run.inputs[k], &now = run.inputs[k + 3], &out = run.outputs[k];
    if (now.size() > old.size()) fail_user("{} rows do not fit a state of {}", now.size(), old.size());
    if (out.data != old.data && old.size() > 0) std::memcpy(out.data, old.data, old.bytes());
    if (now.size() > 0) std::memcpy(out.data, now.data, now.bytes());
  }
}

}  // namespace

void add_turn_cpu(KernelTable& table) {
  Kernel turn;
  turn.op = "search_turn";
  turn.name = "search_turn";
  turn.in_place = {{0, 0}};
  turn.supports = [](const KernelSignature&) { return true; };
  turn.bind = [](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [beam](const KernelRun& run) { run_turn(run, beam); }, {}};
  };
  table.add(std::move(turn));

  Kernel keep;
  keep.op = "search_keep";
  keep.name = "search_keep";
  keep.in_place = {{0, 0}, {1, 1}, {2, 2}};
  keep.supports = [](const KernelSignature&) { return true; };
  keep.bind = [](const KernelCall&) { return BoundKernel{0, run_keep, {}}; };
  table.add(std::move(keep));
}

}  // namespace floe

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

void add_turn_cpu(KernelTable& table) { add_turn(table, DeviceKind::cpu, run_turn, run_keep); }

}  // namespace floe

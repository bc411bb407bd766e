// Runs a Program's entries on its device: one arena, a State. The first run with new sizes binds every kernel
// and solves the memory plan; later ones with those sizes only queue the kernels. On a GPU the second run of
// a binding is recorded and every later one is a single launch.
#pragma once
#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "runtime/program.h"
#include "runtime/state.h"

namespace floe {

struct Feed {
  std::string_view name;
  View value;  // row-major, in host memory; stays the caller's. The CPU reads it in place.
};

// Steps that do the same in the same place, over all their calls.
struct StepTime {
  std::string op;
  std::string where;   // layer
  std::string kernel;  // as the device's table names it
  std::string result;  // the first one's type: "bf16[B, S, 512]"
  double seconds = 0;
  int64_t calls = 0;
  double flops = 0, bytes = 0;  // at the least (tensor/work.h)
  DType products = DType::f32;
};

class Session {
 public:
  // The program, kernels, device and state must outlive the session; the state lies on the same device. At
  // most `max_bindings` sets of sizes are kept.
  Session(std::shared_ptr<const Program> program, const KernelTable& kernels, Device& device, State& state,
          size_t max_bindings = 64);
  // On the CPU.
  Session(std::shared_ptr<const Program> program, const KernelTable& kernels, ThreadPool& pool, State& state,
          size_t max_bindings = 64);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Outputs in the entry's order, on the host, valid until the next run. Dims are taken from the feeds' and
  // states' shapes; `extra` gives those that occur in neither. Throws Error{user} naming a feed that is
  // missing or does not fit.
  const std::vector<View>& run(std::string_view entry, std::span<const Feed> feeds,
                               const Binding& extra = {});
  View output(std::string_view name) const;  // of the last run or results()

  // The two halves of run(): queues the work, with the feeds copied, and gives a ticket; then waits for it.
  // On a GPU the host may go on in between. A ticket is good until two more launches.
  uint64_t launch(std::string_view entry, std::span<const Feed> feeds, const Binding& extra = {});
  // The last launch once more, with the feeds as they were: a GPU has them already, the CPU reads them where
  // they are, so they must still be there.
  uint64_t launch_again();
  // Whether the host gains by launching before it has read the results of the launch before.
  bool runs_ahead() const { return !device_.on_host(); }
  const std::vector<View>& results(uint64_t ticket);

  // What a run with these dims will take: its arena, and weights packed for kernels that have not been packed
  // yet. Kernels are bound for it, nothing is allocated or kept. Every dim of the entry must be given.
  struct Needs {
    size_t arena = 0;
    size_t packed = 0;
  };
  Needs needs(std::string_view entry, const Binding& binding);
  // Takes an arena of so many bytes now, so that runs that need no more never ask for memory. Throws
  // OutOfMemory.
  void reserve(size_t arena_bytes) { grow_arena(arena_bytes); }

  size_t arena_bytes() const;
  size_t packed_bytes() const;  // of weights in their kernels' own forms
  // Frees the arena and every binding: what a server does between bursts.
  void trim();

  // Each step on its own, timed, from the end of the step before: a step's time holds what passes between
  // two kernels, and a mark. On a GPU the time is the device's. There a binding's first run is queued step by
  // step; later ones are recordings that hold the marks, so that the host is no part of the times.
  void set_profile(bool on);
  void clear_profile();
  std::vector<StepTime> profile() const;  // of all profiled runs since clear_profile()

 private:
  struct Bound;
  struct BoundStep;
  struct EntryState;
  struct Flight;
  void set_up();
  EntryState& entry_named(std::string_view name);
  Bound& bind(EntryState& entry, std::span<const Feed> feeds, const Binding& extra);
  Bound make_bound(EntryState& entry, Binding binding);
  void gather_outputs(Bound& bound) const;
  Binding binding_of(const ProgramEntry& entry, std::span<const Feed> feeds, const Binding& extra) const;
  bool is_frozen(const ProgramEntry& entry, const SlotSpec& slot) const;
  void bind_step(Bound& bound, size_t index);
  void grow_arena(size_t bytes);
  void refresh(Bound& bound);
  void patch_feeds(Bound& bound, std::span<const Feed> feeds);
  void stage_feeds(Bound& bound, std::span<const Feed> feeds, Flight& flight);
  void queue_step(const Bound& bound, const BoundStep& step);
  void queue_steps(const Bound& bound);
  void profile_steps(EntryState& entry, Bound& bound);
  uint64_t run_bound(EntryState& entry, Bound& bound, Flight& flight);
  Flight& next_flight();
  void queue_downloads(Bound& bound, Flight& flight);

  std::unique_ptr<Device> own_device_;
  std::shared_ptr<const Program> program_;
  const KernelTable& kernels_;
  Device& device_;
  State& state_;
  size_t max_bindings_;
  std::vector<std::string> changed_states_;  // that some entry updates
  struct Packed {
    Tensor data;
    MemoryClaim claim;
    uint64_t generation = 0;  // of the state it was made from
  };
  std::map<std::string, Packed> packed_;
  std::unique_ptr<Device::Module> module_;
  std::vector<DeviceBuffer> constants_;  // where the host's cannot be read
  DeviceBuffer arena_;
  uint64_t arena_generation_ = 0;
  bool profile_ = false;
  std::vector<std::unique_ptr<EntryState>> entries_;
  std::array<std::unique_ptr<Flight>, 2> flights_;  // launches that may be under way
  uint64_t launches_ = 0;
  struct Again {  // what launch_again() repeats
    EntryState* entry = nullptr;
    Bound* bound = nullptr;
    std::vector<Feed> feeds;
    Binding extra;
  } again_;
  std::vector<View> outputs_;
  const ProgramEntry* last_ = nullptr;
};

}  // namespace floe

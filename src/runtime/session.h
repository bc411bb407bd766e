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

struct StepTime {
  std::string op;
  std::string where;
  double seconds = 0;
  int64_t calls = 0;
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

  // Each step on its own, timed. On a GPU a step's time is the device's, from the end of the step before.
  void set_profile(bool on);
  std::vector<StepTime> profile() const;  // by (op, where), since set_profile(true)

 private:
  struct Bound;
  struct BoundStep;
  struct EntryState;
  struct Flight;
  void set_up();
  EntryState& entry_named(std::string_view name);
  Bound& bind(EntryState& entry, std::span<const Feed> feeds, const Binding& extra);
  Bound make_bound(EntryState& entry, Binding binding);
  Binding binding_of(const ProgramEntry& entry, std::span<const Feed> feeds, const Binding& extra) const;
  bool is_frozen(const ProgramEntry& entry, const SlotSpec& slot) const;
  void bind_step(Bound& bound, size_t index);
  void grow_arena(size_t bytes);
  void refresh(Bound& bound);
  void patch_feeds(Bound& bound, std::span<const Feed> feeds);
  void stage_feeds(Bound& bound, std::span<const Feed> feeds, Flight& flight);
  void queue_step(const Bound& bound, const BoundStep& step);
  void queue_steps(const Bound& bound);
  void profile_steps(EntryState& entry, const Bound& bound);
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
  std::vector<View> outputs_;
  const ProgramEntry* last_ = nullptr;
};

}  // namespace floe

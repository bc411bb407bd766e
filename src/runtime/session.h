// Runs a Program's entries on the CPU: one arena, one pool, a State. The first run with new sizes binds every
// kernel and solves the memory plan; later ones with those sizes only call the kernels.
#pragma once
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"
#include "runtime/program.h"
#include "runtime/state.h"

namespace floe {

struct Feed {
  std::string_view name;
  View value;  // row-major; stays the caller's, and is read in place
};

struct StepTime {
  std::string op;
  std::string where;
  double seconds = 0;
  int64_t calls = 0;
};

class Session {
 public:
  // The program, kernels, pool and state must outlive the session. At most `max_bindings` sets of sizes are
  // kept.
  Session(std::shared_ptr<const Program> program, const KernelTable& kernels, ThreadPool& pool, State& state,
          size_t max_bindings = 64);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Outputs in the entry's order, valid until the next run. Dims are taken from the feeds' and states'
  // shapes; `extra` gives those that occur in neither. Throws Error{user} naming a feed that is missing or
  // does not fit.
  const std::vector<View>& run(std::string_view entry, std::span<const Feed> feeds,
                               const Binding& extra = {});
  View output(std::string_view name) const;  // of the last run

  size_t arena_bytes() const;
  size_t packed_bytes() const;  // of weights in their kernels' own forms
  // Frees the arena and every binding: what a server does between bursts.
  void trim();

  void set_profile(bool on);
  std::vector<StepTime> profile() const;  // by (op, where), since set_profile(true)

 private:
  struct Bound;
  struct EntryState;
  Bound& bind(EntryState& entry, std::span<const Feed> feeds, const Binding& extra);
  void refresh(Bound& bound);

  std::shared_ptr<const Program> program_;
  const KernelTable& kernels_;
  ThreadPool& pool_;
  State& state_;
  size_t max_bindings_;
  std::vector<std::string> changed_states_;  // that some entry updates
  struct Packed {
    Tensor data;
    uint64_t generation = 0;  // of the state it was made from
  };
  std::map<std::string, Packed> packed_;
  Tensor arena_;
  uint64_t arena_generation_ = 0;
  bool profile_ = false;
  std::vector<std::unique_ptr<EntryState>> entries_;
  std::vector<View> outputs_;
  const ProgramEntry* last_ = nullptr;
};

}  // namespace floe

#include "runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace floe {
namespace {

int64_t value_of(const Dim& dim, const Binding& binding) { return dim.evaluate(binding); }

void match(const Dims& dims, const View& view, std::string_view name, Binding* binding) {
  const auto fail = [&] {
    fail_user("'{}' must have shape {}, got {}", name, text_of(dims), text_of(view.shape()));
  };
  if (static_cast<int>(dims.size()) != view.rank) fail();
  for (size_t i = 0; i < dims.size(); ++i) {
    std::string_view symbol;
    if (!dims[i].is_symbol(&symbol)) continue;
    const auto [at, added] = binding->emplace(std::string(symbol), view.dims[i]);
    if (!added && at->second != view.dims[i]) {
      fail_user("'{}' must have shape {}, got {}: {} is {} elsewhere", name, text_of(dims),
                text_of(view.shape()), symbol, at->second);
    }
  }
}

}  // namespace

// An entry with sizes: kernels bound, views made. Pointers are set by refresh() and, for feeds, at every run.
struct Session::Bound {
  const ProgramEntry* entry = nullptr;
  std::vector<int64_t> key;
  Binding binding;
  MemoryPlan plan;
  size_t workspace_offset = 0;
  size_t arena = 0;  // with the workspace
  struct Step {
    BoundKernel kernel;
    std::unique_ptr<Attrs> attrs;  // some kernels keep a reference
    std::vector<View> inputs, outputs;
    std::string packed_key;  // into Session::packed_; empty: none
    const void* packed = nullptr;
  };
  std::vector<Step> steps;
  struct FeedPatch {
    int input;  // index into the entry's inputs
    View* view;
    size_t offset;  // bytes
  };
  std::vector<FeedPatch> patches;
  std::vector<View> outputs;
  uint64_t arena_generation = 0;
  uint64_t state_generation = 0;
};

struct Session::EntryState {
  const ProgramEntry* entry;
  std::vector<std::string> symbols;
  std::list<Bound> bound;  // most recently used first
  // What the front of the list was asked with: the same again needs no look at names or states.
  std::vector<int64_t> last_question;
  std::vector<double> seconds;
  std::vector<int64_t> calls;
};

Session::Session(std::shared_ptr<const Program> program, const KernelTable& kernels, ThreadPool& pool,
                 State& state, size_t max_bindings)
    : program_(std::move(program)),
      kernels_(kernels),
      pool_(pool),
      state_(state),
      max_bindings_(max_bindings) {
  for (const ProgramEntry& entry : program_->entries) {
    changed_states_.insert(changed_states_.end(), entry.updated.begin(), entry.updated.end());
    auto state_of_entry = std::make_unique<EntryState>();
    state_of_entry->entry = &entry;
    for (const auto& [name, info] : entry.symbols.all()) state_of_entry->symbols.push_back(name);
    state_of_entry->seconds.assign(entry.steps.size(), 0);
    state_of_entry->calls.assign(entry.steps.size(), 0);
    entries_.push_back(std::move(state_of_entry));
  }
}

Session::~Session() = default;

Session::Bound& Session::bind(EntryState& entry_state, std::span<const Feed> feeds, const Binding& extra) {
  const ProgramEntry& entry = *entry_state.entry;
  std::vector<int64_t> question = {static_cast<int64_t>(state_.generation())};
  for (const Feed& feed : feeds) {
    question.push_back(static_cast<int64_t>(feed.value.dtype));
    question.insert(question.end(), feed.value.dims.begin(), feed.value.dims.begin() + feed.value.rank);
    // The name tells inputs apart that come in another order.
    question.push_back(static_cast<int64_t>(std::hash<std::string_view>{}(feed.name)));
  }
  for (const auto& [name, value] : extra) question.push_back(value);
  if (!entry_state.bound.empty() && question == entry_state.last_question) return entry_state.bound.front();
  Binding binding = extra;
  for (const NamedSlot& input : entry.inputs) {
    const auto feed =
        std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == input.name; });
    if (feed == feeds.end()) fail_user("entry '{}' needs '{}'", entry.name, input.name);
    const SlotSpec& slot = entry.slots[static_cast<size_t>(input.slot)];
    if (feed->value.dtype != slot.dtype) {
      fail_user("'{}' must be {}, got {}", input.name, name_of(slot.dtype), name_of(feed->value.dtype));
    }
    match(slot.dims, feed->value, input.name, &binding);
  }
  for (const NamedSlot& state : entry.states) {
    const SlotSpec& slot = entry.slots[static_cast<size_t>(state.slot)];
    const Tensor& tensor = state_.get(state.name);
    if (tensor.dtype() != slot.dtype) {
      fail_user("state '{}' must be {}, is {}", state.name, name_of(slot.dtype), name_of(tensor.dtype()));
    }
    match(slot.dims, view_of(tensor), state.name, &binding);
  }
  std::vector<int64_t> key;
  for (const std::string& symbol : entry_state.symbols) {
    const auto found = binding.find(symbol);
    if (found == binding.end()) fail_user("entry '{}' needs a value for dim '{}'", entry.name, symbol);
    key.push_back(found->second);
  }
  entry.symbols.check(binding);
  const auto check_shape = [&](const SlotSpec& slot, const Shape& shape, const std::string& name) {
    for (size_t i = 0; i < slot.dims.size(); ++i) {
      if (value_of(slot.dims[i], binding) != shape[i]) {
        const std::string known = slot.dims[i].is_constant() ? ""
                                                             : fmt::format(" ({} = {})", slot.dims[i].text(),
                                                                           value_of(slot.dims[i], binding));
        fail_user("'{}' must have shape {}, got {}{}", name, text_of(slot.dims), text_of(shape), known);
      }
    }
  };
  for (const NamedSlot& input : entry.inputs) {
    const auto feed =
        std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == input.name; });
    check_shape(entry.slots[static_cast<size_t>(input.slot)], feed->value.shape(), input.name);
  }
  for (const NamedSlot& state : entry.states) {
    check_shape(entry.slots[static_cast<size_t>(state.slot)], state_.get(state.name).shape(), state.name);
  }

  for (auto at = entry_state.bound.begin(); at != entry_state.bound.end(); ++at) {
    if (at->key != key) continue;
    entry_state.bound.splice(entry_state.bound.begin(), entry_state.bound, at);
    entry_state.last_question = std::move(question);
    return entry_state.bound.front();
  }

  Bound bound;
  bound.entry = &entry;
  bound.key = std::move(key);
  bound.binding = std::move(binding);
  bound.plan = plan_memory(entry, bound.binding);
  const auto view_for = [&](int slot_index) {
    const SlotSpec& slot = entry.slots[static_cast<size_t>(slot_index)];
    View view;
    view.dtype = slot.dtype;
    view.rank = static_cast<int>(slot.dims.size());
    FLOE_CHECK(view.rank <= kMaxRank, "rank {} is above {}", view.rank, kMaxRank);
    for (size_t i = 0; i < slot.dims.size(); ++i) {
      view.dims[i] = value_of(slot.dims[i], bound.binding);
      view.strides[i] = value_of(slot.strides[i], bound.binding);
    }
    return view;
  };
  const auto is_frozen = [&](const SlotSpec& slot) {
    const StorageSpec& storage = entry.storages[static_cast<size_t>(slot.storage)];
    return storage.kind == StorageSpec::Kind::state && slot.offset == Dim(0) &&
           std::find(changed_states_.begin(), changed_states_.end(), storage.name) == changed_states_.end();
  };
  size_t workspace = 0;
  bound.steps.resize(entry.steps.size());
  for (size_t i = 0; i < entry.steps.size(); ++i) {
    const StepSpec& spec = entry.steps[i];
    Bound::Step& step = bound.steps[i];
    for (const int slot : spec.inputs) step.inputs.push_back(view_for(slot));
    for (const int slot : spec.outputs) step.outputs.push_back(view_for(slot));
    if (spec.kernel == "copy") {
      step.kernel.run = [](const KernelRun& run) {
        const size_t bytes = static_cast<size_t>(run.inputs[0].size()) * size_of(run.inputs[0].dtype);
        if (bytes > 0) std::memmove(run.outputs[0].data, run.inputs[0].data, bytes);
      };
      continue;
    }
    step.attrs = std::make_unique<Attrs>(spec.attrs.bind(bound.binding));
    const Kernel& kernel = kernels_.named(program_->device, spec.kernel);
    try {
      uint32_t frozen = 0;
      for (size_t k = 0; k < spec.inputs.size(); ++k) {
        if (is_frozen(entry.slots[static_cast<size_t>(spec.inputs[k])])) frozen |= 1u << k;
      }
      step.kernel = kernel.bind({*step.attrs, step.inputs, step.outputs, pool_.threads(), frozen});
      if (const BoundKernel::Pack& pack = step.kernel.pack; pack.input >= 0) {
        const SlotSpec& slot = entry.slots[static_cast<size_t>(spec.inputs[static_cast<size_t>(pack.input)])];
        step.packed_key = entry.storages[static_cast<size_t>(slot.storage)].name + "|" + pack.key;
      }
    } catch (const Error& e) {
      throw Error(e.kind(), fmt::format("{} (step {} {}{}{})", e.what(), i, spec.op,
                                        spec.where.empty() ? "" : " in ", spec.where));
    }
    workspace = std::max(workspace, step.kernel.workspace);
  }
  for (const NamedSlot& output : entry.outputs) bound.outputs.push_back(view_for(output.slot));
  bound.workspace_offset = (bound.plan.arena + 63) / 64 * 64;
  bound.arena = bound.workspace_offset + workspace;

  entry_state.bound.push_front(std::move(bound));
  entry_state.last_question = std::move(question);
  if (entry_state.bound.size() > max_bindings_) entry_state.bound.pop_back();
  return entry_state.bound.front();
}

// Sets every pointer that does not come with the feeds.
void Session::refresh(Bound& bound) {
  const ProgramEntry& entry = *bound.entry;
  bound.patches.clear();
  const auto place = [&](int slot_index, View* view) {
    const SlotSpec& slot = entry.slots[static_cast<size_t>(slot_index)];
    const StorageSpec& storage = entry.storages[static_cast<size_t>(slot.storage)];
    const size_t offset = static_cast<size_t>(value_of(slot.offset, bound.binding)) * size_of(slot.dtype);
    char* base = nullptr;
    switch (storage.kind) {
      case StorageSpec::Kind::arena:
        base = static_cast<char*>(arena_.data()) + bound.plan.offsets[static_cast<size_t>(slot.storage)];
        break;
      case StorageSpec::Kind::state:
        base = static_cast<char*>(state_.get(storage.name).data());
        break;
      case StorageSpec::Kind::constant:
        base = const_cast<char*>(
            static_cast<const char*>(program_->constants[static_cast<size_t>(storage.constant)]->data()));
        break;
      case StorageSpec::Kind::input: {
        int input = 0;
        while (entry.inputs[static_cast<size_t>(input)].name != storage.name) ++input;
        bound.patches.push_back({input, view, offset});
        return;
      }
    }
    view->data = base == nullptr ? nullptr : base + offset;
  };
  for (size_t i = 0; i < bound.steps.size(); ++i) {
    const StepSpec& spec = entry.steps[i];
    for (size_t k = 0; k < spec.inputs.size(); ++k) place(spec.inputs[k], &bound.steps[i].inputs[k]);
    for (size_t k = 0; k < spec.outputs.size(); ++k) place(spec.outputs[k], &bound.steps[i].outputs[k]);
  }
  for (size_t k = 0; k < entry.outputs.size(); ++k) place(entry.outputs[k].slot, &bound.outputs[k]);
  for (Bound::Step& step : bound.steps) {
    if (step.packed_key.empty()) continue;
    Packed& packed = packed_[step.packed_key];
    const BoundKernel::Pack& pack = step.kernel.pack;
    if (packed.generation != state_.generation()) {
      if (packed.data.bytes() != pack.bytes)
        packed.data = Tensor(DType::u8, {static_cast<int64_t>(pack.bytes)});
      pack.make(step.inputs[static_cast<size_t>(pack.input)], packed.data.data(), pool_);
      packed.generation = state_.generation();
    }
    step.packed = packed.data.data();
  }
  bound.arena_generation = arena_generation_;
  bound.state_generation = state_.generation();
}

const std::vector<View>& Session::run(std::string_view entry_name, std::span<const Feed> feeds,
                                      const Binding& extra) {
  EntryState* entry_state = nullptr;
  for (const auto& candidate : entries_) {
    if (candidate->entry->name == entry_name) entry_state = candidate.get();
  }
  FLOE_CHECK(entry_state != nullptr, "the program has no entry '{}'", entry_name);
  const ProgramEntry& entry = *entry_state->entry;
  Bound& bound = bind(*entry_state, feeds, extra);
  if (bound.arena > arena_.bytes()) {
    arena_ = Tensor();  // free before the larger one is taken
    arena_ = Tensor(DType::u8, {static_cast<int64_t>(bound.arena)});
    ++arena_generation_;
  }
  if (bound.arena_generation != arena_generation_ || bound.state_generation != state_.generation())
    refresh(bound);
  for (const Bound::FeedPatch& patch : bound.patches) {
    const std::string& name = entry.inputs[static_cast<size_t>(patch.input)].name;
    const auto feed = std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == name; });
    FLOE_CHECK(feed->value.contiguous(), "feed '{}' is not row-major", name);
    patch.view->data = static_cast<char*>(feed->value.data) + patch.offset;
  }
  void* workspace =
      arena_.bytes() == 0 ? nullptr : static_cast<char*>(arena_.data()) + bound.workspace_offset;
  for (size_t i = 0; i < bound.steps.size(); ++i) {
    const Bound::Step& step = bound.steps[i];
    const KernelRun call{step.inputs, step.outputs, workspace, &pool_, step.packed};
    if (!profile_) {
      step.kernel.run(call);
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    step.kernel.run(call);
    entry_state->seconds[i] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++entry_state->calls[i];
  }
  outputs_ = bound.outputs;
  last_ = &entry;
  return outputs_;
}

View Session::output(std::string_view name) const {
  FLOE_CHECK(last_ != nullptr, "no run yet");
  for (size_t i = 0; i < last_->outputs.size(); ++i) {
    if (last_->outputs[i].name == name) return outputs_[i];
  }
  fail_bug(__FILE__, __LINE__, fmt::format("entry '{}' has no output '{}'", last_->name, name));
}

size_t Session::arena_bytes() const { return arena_.bytes(); }

size_t Session::packed_bytes() const {
  size_t total = 0;
  for (const auto& [key, packed] : packed_) total += packed.data.bytes();
  return total;
}

void Session::trim() {
  for (const auto& entry : entries_) {
    entry->bound.clear();
    entry->last_question.clear();
  }
  packed_.clear();
  arena_ = Tensor();
  ++arena_generation_;
  outputs_.clear();
  last_ = nullptr;
}

void Session::set_profile(bool on) {
  profile_ = on;
  if (!on) return;
  for (const auto& entry : entries_) {
    std::fill(entry->seconds.begin(), entry->seconds.end(), 0);
    std::fill(entry->calls.begin(), entry->calls.end(), 0);
  }
}

std::vector<StepTime> Session::profile() const {
  std::map<std::pair<std::string, std::string>, StepTime> sums;
  for (const auto& entry : entries_) {
    for (size_t i = 0; i < entry->entry->steps.size(); ++i) {
      const StepSpec& step = entry->entry->steps[i];
      StepTime& sum = sums[{step.op, step.where}];
      sum.op = step.op;
      sum.where = step.where;
      sum.seconds += entry->seconds[i];
      sum.calls += entry->calls[i];
    }
  }
  std::vector<StepTime> list;
  for (auto& [key, sum] : sums) list.push_back(std::move(sum));
  return list;
}

}  // namespace floe

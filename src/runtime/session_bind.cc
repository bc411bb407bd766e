// Sizes into a Bound: shapes checked, kernels bound, memory planned, pointers set.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "runtime/bound.h"

namespace floe {
namespace {

constexpr size_t kLine = 256;  // where a region of the arena begins

size_t rounded_up(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

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

const Feed& feed_named(std::span<const Feed> feeds, const ProgramEntry& entry, std::string_view name) {
  const auto feed = std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == name; });
  if (feed == feeds.end()) fail_user("entry '{}' needs '{}'", entry.name, name);
  return *feed;
}

void check_shape(const SlotSpec& slot, const Shape& shape, const std::string& name, const Binding& binding) {
  for (size_t i = 0; i < slot.dims.size(); ++i) {
    if (value_of(slot.dims[i], binding) == shape[i]) continue;
    const std::string known = slot.dims[i].is_constant() ? ""
                                                         : fmt::format(" ({} = {})", slot.dims[i].text(),
                                                                       value_of(slot.dims[i], binding));
    fail_user("'{}' must have shape {}, got {}{}", name, text_of(slot.dims), text_of(shape), known);
  }
}

View view_for(const SlotSpec& slot, const Binding& binding) {
  View view;
  view.dtype = slot.dtype;
  view.rank = static_cast<int>(slot.dims.size());
  FLOE_CHECK(view.rank <= kMaxRank, "rank {} is above {}", view.rank, kMaxRank);
  for (size_t i = 0; i < slot.dims.size(); ++i) {
    view.dims[i] = value_of(slot.dims[i], binding);
    view.strides[i] = value_of(slot.strides[i], binding);
  }
  return view;
}

}  // namespace

Binding Session::binding_of(const ProgramEntry& entry, std::span<const Feed> feeds,
                            const Binding& extra) const {
  Binding binding = extra;
  for (const NamedSlot& input : entry.inputs) {
    const Feed& feed = feed_named(feeds, entry, input.name);
    const SlotSpec& slot = entry.slots[static_cast<size_t>(input.slot)];
    if (feed.value.dtype != slot.dtype) {
      fail_user("'{}' must be {}, got {}", input.name, name_of(slot.dtype), name_of(feed.value.dtype));
    }
    match(slot.dims, feed.value, input.name, &binding);
  }
  for (const NamedSlot& state : entry.states) {
    const SlotSpec& slot = entry.slots[static_cast<size_t>(state.slot)];
    const View view = state_.view(state.name);
    if (view.dtype != slot.dtype) {
      fail_user("state '{}' must be {}, is {}", state.name, name_of(slot.dtype), name_of(view.dtype));
    }
    match(slot.dims, view, state.name, &binding);
  }
  for (const auto& [symbol, info] : entry.symbols.all()) {
    if (binding.find(symbol) == binding.end())
      fail_user("entry '{}' needs a value for dim '{}'", entry.name, symbol);
  }
  entry.symbols.check(binding);
  for (const NamedSlot& input : entry.inputs) {
    check_shape(entry.slots[static_cast<size_t>(input.slot)],
                feed_named(feeds, entry, input.name).value.shape(), input.name, binding);
  }
  for (const NamedSlot& state : entry.states) {
    check_shape(entry.slots[static_cast<size_t>(state.slot)], state_.view(state.name).shape(), state.name,
                binding);
  }
  return binding;
}

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

  Binding binding = binding_of(entry, feeds, extra);
  std::vector<int64_t> key;
  for (const std::string& symbol : entry_state.symbols) key.push_back(binding.at(symbol));
  for (auto at = entry_state.bound.begin(); at != entry_state.bound.end(); ++at) {
    if (at->key != key) continue;
    entry_state.bound.splice(entry_state.bound.begin(), entry_state.bound, at);
    entry_state.last_question = std::move(question);
    return entry_state.bound.front();
  }
  entry_state.bound.push_front(make_bound(entry_state, std::move(binding)));
  entry_state.last_question = std::move(question);
  if (entry_state.bound.size() > max_bindings_) entry_state.bound.pop_back();
  return entry_state.bound.front();
}

Session::Bound Session::make_bound(EntryState& entry_state, Binding binding) {
  const ProgramEntry& entry = *entry_state.entry;
  Bound bound;
  bound.entry = &entry;
  for (const std::string& symbol : entry_state.symbols) bound.key.push_back(binding.at(symbol));
  bound.binding = std::move(binding);
  bound.plan = plan_memory(entry, bound.binding);
  size_t workspace = 0;
  bound.steps.resize(entry.steps.size());
  for (size_t i = 0; i < entry.steps.size(); ++i) {
    bind_step(bound, i);
    workspace = std::max(workspace, bound.steps[i].kernel.workspace);
  }
  for (const NamedSlot& output : entry.outputs)
    bound.outputs.push_back(view_for(entry.slots[static_cast<size_t>(output.slot)], bound.binding));
  bound.workspace_offset = rounded_up(bound.plan.arena);
  bound.feeds_offset = bound.workspace_offset + rounded_up(workspace);
  if (!device_.on_host()) {
    for (const NamedSlot& input : entry.inputs) {
      bound.feed_places.push_back(bound.feeds_bytes);
      bound.feeds_bytes +=
          rounded_up(view_for(entry.slots[static_cast<size_t>(input.slot)], bound.binding).bytes());
    }
  }
  bound.arena = bound.feeds_offset + bound.feeds_bytes;
  if (!device_.on_host()) gather_outputs(bound);
  return bound;
}

// Small outputs lie side by side, so that they cross to the host in one copy.
void Session::gather_outputs(Bound& bound) const {
  constexpr size_t kSmall = size_t{1} << 16;
  std::vector<bool> moved(bound.entry->storages.size(), false);
  for (const NamedSlot& output : bound.entry->outputs) {
    const auto at = static_cast<size_t>(bound.entry->slots[static_cast<size_t>(output.slot)].storage);
    const size_t bytes = bound.plan.sizes[at];
    if (bound.entry->storages[at].kind != StorageSpec::Kind::arena || moved[at] || bytes > kSmall) continue;
    moved[at] = true;
    bound.plan.offsets[at] = bound.arena;
    bound.arena += (bytes + 63) / 64 * 64;
  }
  bound.arena = rounded_up(bound.arena);
}

Session::Needs Session::needs(std::string_view entry_name, const Binding& binding) {
  EntryState& entry_state = entry_named(entry_name);
  for (const std::string& symbol : entry_state.symbols)
    FLOE_CHECK(binding.contains(symbol), "entry '{}' has a dim '{}' without a value", entry_name, symbol);
  const Bound bound = make_bound(entry_state, binding);
  Needs needs{.arena = bound.arena};
  std::map<std::string, size_t> fresh;
  for (const BoundStep& step : bound.steps) {
    if (!step.packed_key.empty() && packed_.find(step.packed_key) == packed_.end())
      fresh[step.packed_key] = step.kernel.pack.bytes;
  }
  for (const auto& [key, bytes] : fresh) needs.packed += bytes;
  return needs;
}

bool Session::is_frozen(const ProgramEntry& entry, const SlotSpec& slot) const {
  const StorageSpec& storage = entry.storages[static_cast<size_t>(slot.storage)];
  return storage.kind == StorageSpec::Kind::state && slot.offset == Dim(0) &&
         std::find(changed_states_.begin(), changed_states_.end(), storage.name) == changed_states_.end();
}

void Session::bind_step(Bound& bound, size_t index) {
  const ProgramEntry& entry = *bound.entry;
  const StepSpec& spec = entry.steps[index];
  BoundStep& step = bound.steps[index];
  const auto slot_of = [&](int slot) -> const SlotSpec& { return entry.slots[static_cast<size_t>(slot)]; };
  for (const int slot : spec.inputs) step.inputs.push_back(view_for(slot_of(slot), bound.binding));
  for (const int slot : spec.outputs) step.outputs.push_back(view_for(slot_of(slot), bound.binding));
  if (spec.kernel == "copy") {
    step.kernel.run = [device = &device_](const KernelRun& run) {
      device->copy(run.outputs[0].data, run.inputs[0].data, run.inputs[0].bytes());
    };
    return;
  }
  step.attrs = std::make_unique<Attrs>(spec.attrs.bind(bound.binding));
  const Kernel& kernel = kernels_.named(program_->device, spec.kernel);
  try {
    uint32_t frozen = 0;
    for (size_t k = 0; k < spec.inputs.size(); ++k) {
      if (is_frozen(entry, slot_of(spec.inputs[k]))) frozen |= 1u << k;
    }
    const int threads = device_.pool() == nullptr ? 1 : device_.pool()->threads();
    step.kernel =
        kernel.bind({*step.attrs, step.inputs, step.outputs, threads, frozen, &device_, module_.get()});
    if (const BoundKernel::Pack& pack = step.kernel.pack; pack.input >= 0) {
      const SlotSpec& slot = slot_of(spec.inputs[static_cast<size_t>(pack.input)]);
      step.packed_key = entry.storages[static_cast<size_t>(slot.storage)].name + "|" + pack.key;
    }
  } catch (const OutOfMemory&) {
    throw;  // stays what it is: whoever batches tries with less
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{} (step {} {}{}{})", e.what(), index, spec.op,
                                      spec.where.empty() ? "" : " in ", spec.where));
  }
}

// Sets every pointer that does not come with the feeds.
void Session::refresh(Bound& bound) {
  const ProgramEntry& entry = *bound.entry;
  bound.patches.clear();
  bound.recording.reset();
  bound.marked.reset();
  bound.marks.clear();
  bound.runs = 0;
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
        base = static_cast<char*>(state_.view(storage.name).data);
        break;
      case StorageSpec::Kind::constant: {
        const auto at = static_cast<size_t>(storage.constant);
        base = static_cast<char*>(constants_.empty() ? const_cast<void*>(program_->constants[at]->data())
                                                     : constants_[at].data());
        break;
      }
      case StorageSpec::Kind::input: {
        int input = 0;
        while (entry.inputs[static_cast<size_t>(input)].name != storage.name) ++input;
        if (!device_.on_host()) {
          base = static_cast<char*>(arena_.data()) + bound.feeds_offset +
                 bound.feed_places[static_cast<size_t>(input)];
          break;
        }
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
  for (BoundStep& step : bound.steps) {
    if (step.packed_key.empty()) continue;
    Packed& packed = packed_[step.packed_key];
    const BoundKernel::Pack& pack = step.kernel.pack;
    if (packed.generation != state_.generation()) {
      if (packed.data.bytes() != pack.bytes) {
        packed.claim = MemoryClaim(device_, pack.bytes);
        packed.data = Tensor(DType::u8, {static_cast<int64_t>(pack.bytes)});
      }
      pack.make(step.inputs[static_cast<size_t>(pack.input)], packed.data.data(), *device_.pool());
      packed.generation = state_.generation();
    }
    step.packed = packed.data.data();
  }
  bound.arena_generation = arena_generation_;
  bound.state_generation = state_.generation();
}

}  // namespace floe

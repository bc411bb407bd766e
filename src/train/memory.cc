#include "train/memory.h"

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/error.h"

namespace floe {
namespace {

constexpr size_t kSpare = 16;

// More tokens than any update is trained with; a bisection must end somewhere.
constexpr int64_t kMostTokens = int64_t{1} << 24;

}  // namespace

StepSizes::StepSizes(std::shared_ptr<const Program> program, const KernelTable& kernels, Device& device)
    : program_(std::move(program)), none_(&device) {
  if (device.on_host()) session_ = std::make_unique<Session>(program_, kernels, device, none_);
}

Session::Needs StepSizes::of(const ProgramEntry& entry, const BatchShape& shape) const {
  const Binding binding = step_binding(entry, shape);
  if (session_) return session_->needs(entry.name, binding);
  return {.arena = plan_memory(entry, binding).arena};
}

StepSizes::Largest StepSizes::largest(const std::vector<BatchShape>& shapes) const {
  Largest most;
  for (const BatchShape& shape : shapes) {
    for (const ProgramEntry& entry : program_->entries) {
      const Session::Needs needs = of(entry, shape);
      most.needs.packed = std::max(most.needs.packed, needs.packed);
      if (needs.arena <= most.needs.arena) continue;
      most.needs.arena = needs.arena;
      most.shape = shape;
    }
  }
  return most;
}

size_t StepSizes::states() const {
  std::set<std::string> seen;
  size_t bytes = 0;
  for (const ProgramEntry& entry : program_->entries) {
    for (const NamedSlot& state : entry.states) {
      if (!seen.insert(state.name).second) continue;
      const SlotSpec& slot = entry.slots[static_cast<size_t>(state.slot)];
      bytes += static_cast<size_t>(product(slot.dims).evaluate({})) * size_of(slot.dtype);
    }
  }
  return bytes;
}

Binding step_binding(const ProgramEntry& entry, const BatchShape& shape) {
  const Binding known = {{"B", shape.rows}, {"S", shape.source}, {"T", shape.target}};
  Binding binding;
  for (const auto& [name, info] : entry.symbols.all()) {
    const auto value = known.find(name);
    FLOE_CHECK(value != known.end(), "entry '{}' of a training step has a dim '{}'", entry.name, name);
    binding.insert(*value);
  }
  return binding;
}

TrainingMemory training_memory(const StepSizes& sizes, const BatchOptions& batch, int64_t parts,
                               size_t validation) {
  const StepSizes::Largest most = sizes.largest(largest_shapes(batch, parts));
  return {.states = sizes.states(),
          .arena = most.needs.arena + most.needs.packed,
          .validation = validation,
          .shape = most.shape};
}

int64_t tokens_that_fit(const StepSizes& sizes, const BatchOptions& batch, int64_t parts, size_t validation,
                        size_t available) {
  const size_t budget = available - available / kSpare;
  const auto fits = [&](int64_t tokens) {
    BatchOptions other = batch;
    other.max_tokens = tokens;
    return training_memory(sizes, other, parts, validation).total() <= budget;
  };
  int64_t good = least_tokens(batch);
  if (!fits(good)) return 0;
  int64_t bad = 2 * good;
  while (bad <= kMostTokens && fits(bad)) {
    good = bad;
    bad *= 2;
  }
  if (bad > kMostTokens) return good;
  // To a 64th: what a few more tokens would bring is not worth their plans.
  while (bad - good > std::max<int64_t>(1, good / 64)) {
    const int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

std::string refusal_of(const TrainingMemory& needed, const BatchOptions& batch, const Device& device,
                       size_t available, int64_t fitting_tokens) {
  std::string text = fmt::format(
      "option batch_tokens: {} needs {}: {} of weights and moments, {} for {} sentences of {} tokens",
      batch.max_tokens, rounded_bytes(needed.total()), rounded_bytes(needed.states),
      rounded_bytes(needed.arena), needed.shape.rows, needed.shape.source);
  if (needed.validation > 0) text += fmt::format(", {} for validation", rounded_bytes(needed.validation));
  text += fmt::format("; {} has {}", device.name(), rounded_bytes(available));
  if (device.memory_limit() != Device::kNoLimit)
    text += fmt::format(" (memory_limit {})", exact_bytes(device.memory_limit()));
  if (fitting_tokens == 0)
    return text + fmt::format("; not even one sentence of max_length {} fits", batch.max_length);
  return text + fmt::format("; {} would fit", fitting_tokens);
}

}  // namespace floe

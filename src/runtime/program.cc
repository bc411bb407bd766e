#include "runtime/program.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace floe {
namespace {

constexpr size_t kAlign = 64;  // a cache line, and what AVX-512 likes

std::string slot_text(const ProgramEntry& entry, int slot) {
  const SlotSpec& spec = entry.slots[static_cast<size_t>(slot)];
  const StorageSpec& storage = entry.storages[static_cast<size_t>(spec.storage)];
  std::string place;
  switch (storage.kind) {
    case StorageSpec::Kind::arena:
      place = fmt::format("m{}", spec.storage);
      break;
    case StorageSpec::Kind::input:
      place = "input " + storage.name;
      break;
    case StorageSpec::Kind::state:
      place = "state " + storage.name;
      break;
    case StorageSpec::Kind::constant:
      place = fmt::format("constant {}", storage.constant);
      break;
  }
  if (!(spec.offset == Dim(0))) place += " + " + spec.offset.text();
  return fmt::format("s{} {}{} ({})", slot, name_of(spec.dtype), text_of(spec.dims), place);
}

}  // namespace

const ProgramEntry& Program::entry(std::string_view name) const {
  for (const ProgramEntry& entry : entries) {
    if (entry.name == name) return entry;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("the program has no entry '{}'", name));
}

std::string print(const ProgramEntry& entry) {
  std::string out = fmt::format("entry {} ({} steps, {} storages)\n", entry.name, entry.steps.size(),
                                entry.storages.size());
  for (size_t i = 0; i < entry.steps.size(); ++i) {
    const StepSpec& step = entry.steps[i];
    out += fmt::format("{:4} {} [{}]", i, step.op, step.kernel);
    if (!step.where.empty()) out += " @ " + step.where;
    Attrs attrs = step.attrs;
    attrs.erase("tape");
    if (!attrs.all().empty()) out += " " + attrs.text();
    out += "\n";
    for (const int slot : step.inputs) out += "       <- " + slot_text(entry, slot) + "\n";
    for (const int slot : step.outputs) out += "       -> " + slot_text(entry, slot) + "\n";
  }
  for (const NamedSlot& output : entry.outputs)
    out += fmt::format("return {} = {}\n", output.name, slot_text(entry, output.slot));
  for (const std::string& op : entry.fallbacks) out += fmt::format("through its meaning: {}\n", op);
  return out;
}

MemoryPlan plan_memory(const ProgramEntry& entry, const Binding& binding) {
  const size_t n = entry.storages.size();
  MemoryPlan plan;
  plan.sizes.assign(n, 0);
  plan.offsets.assign(n, 0);
  std::vector<int> order;
  for (size_t i = 0; i < n; ++i) {
    const StorageSpec& storage = entry.storages[i];
    if (storage.kind != StorageSpec::Kind::arena) continue;
    const int64_t bytes = storage.bytes.evaluate(binding);
    plan.sizes[i] = (static_cast<size_t>(bytes) + kAlign - 1) / kAlign * kAlign;
    plan.sum += plan.sizes[i];
    if (bytes > 0) order.push_back(static_cast<int>(i));
  }
  // Largest first, each in the smallest gap that is free during its whole life (greedy by size: Pisarchyk
  // and Lee, "Efficient memory management for deep neural net inference", 2020).
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return plan.sizes[static_cast<size_t>(a)] > plan.sizes[static_cast<size_t>(b)];
  });
  std::vector<int> placed;  // by offset
  for (const int at : order) {
    const StorageSpec& storage = entry.storages[static_cast<size_t>(at)];
    const size_t size = plan.sizes[static_cast<size_t>(at)];
    size_t best = SIZE_MAX;
    size_t best_gap = SIZE_MAX;
    size_t end = 0;
    for (const int other : placed) {
      const StorageSpec& o = entry.storages[static_cast<size_t>(other)];
      if (o.last < storage.first || o.first > storage.last) continue;
      const size_t start = plan.offsets[static_cast<size_t>(other)];
      if (start > end && start - end >= size && start - end < best_gap) {
        best = end;
        best_gap = start - end;
      }
      end = std::max(end, start + plan.sizes[static_cast<size_t>(other)]);
    }
    const size_t offset = best != SIZE_MAX ? best : end;
    plan.offsets[static_cast<size_t>(at)] = offset;
    plan.arena = std::max(plan.arena, offset + size);
    const auto where = std::upper_bound(placed.begin(), placed.end(), at, [&](int a, int b) {
      return plan.offsets[static_cast<size_t>(a)] < plan.offsets[static_cast<size_t>(b)];
    });
    placed.insert(where, at);
  }
  return plan;
}

std::string print(const ProgramEntry& entry, const MemoryPlan& plan) {
  std::string out = fmt::format("arena {} bytes for {} bytes of values\n", plan.arena, plan.sum);
  for (size_t i = 0; i < entry.storages.size(); ++i) {
    const StorageSpec& storage = entry.storages[i];
    if (storage.kind != StorageSpec::Kind::arena) continue;
    out += fmt::format("m{:<5} steps {:>4}..{:<4} offset {:>12} bytes {:>12} = {}\n", i, storage.first,
                       storage.last, plan.offsets[i], plan.sizes[i], storage.bytes.text());
  }
  return out;
}

}  // namespace floe

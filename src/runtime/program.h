// What a compiled graph is: data. Steps name kernels; slots say where each value lies, in sizes that may
// still be expressions; storages say how long memory is needed. The runtime solves offsets for each binding
// of the dims.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "tensor/attrs.h"
#include "tensor/dim.h"
#include "tensor/work.h"

namespace floe {

struct StorageSpec {
  enum class Kind { arena, input, state, constant } kind = Kind::arena;
  std::string name;   // of the input or state
  int constant = -1;  // index into Program::constants
  Dim bytes;
  int first = 0;  // steps during which it is live, both ends included; arena only
  int last = 0;
};

struct SlotSpec {
  DType dtype = DType::f32;
  Dims dims;
  Dims strides;  // in elements
  Dim offset;    // in elements, from the start of the storage
  int storage = -1;
};

struct StepSpec {
  std::string op;
  std::string kernel;  // name in the device's table; "copy" copies input 0 to output 0
  Attrs attrs;
  std::vector<int> inputs;  // slots
  std::vector<int> outputs;
  std::string where;  // layer
  Work work;
};

struct NamedSlot {
  std::string name;
  int slot;
};

struct ProgramEntry {
  std::string name;
  SymbolTable symbols;
  std::vector<StorageSpec> storages;
  std::vector<SlotSpec> slots;
  std::vector<StepSpec> steps;
  std::vector<NamedSlot> inputs;
  std::vector<NamedSlot> outputs;
  std::vector<NamedSlot> states;       // as read
  std::vector<std::string> updated;    // states that the entry changes
  std::vector<std::string> fallbacks;  // ops that had no kernel and were run through their meaning
};

struct Program {
  DeviceKind device = DeviceKind::cpu;
  std::vector<ProgramEntry> entries;
  std::vector<TensorPtr> constants;
  std::string source;  // of the kernels that the device compiles: the fused groups of a GPU's program

  const ProgramEntry& entry(std::string_view name) const;  // throws bug
};

std::string print(const ProgramEntry& entry);

// Offsets of the arena storages for one binding: storages whose lives overlap do not overlap in memory.
struct MemoryPlan {
  std::vector<size_t> sizes;  // by storage; 0 where not in the arena
  std::vector<size_t> offsets;
  size_t arena = 0;  // bytes
  size_t sum = 0;    // what the storages would take without sharing
};
MemoryPlan plan_memory(const ProgramEntry& entry, const Binding& binding);
std::string print(const ProgramEntry& entry, const MemoryPlan& plan);

}  // namespace floe

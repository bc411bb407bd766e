#include "compile/group_axes.h"

#include "base/error.h"

namespace floe {
namespace {

void find_live(const Tape& tape, GroupAxes* axes) {
  axes->live.assign(tape.code.size(), false);
  axes->ordinals.assign(tape.code.size(), false);
  for (const int32_t r : tape.outputs) axes->live[static_cast<size_t>(r)] = true;
  for (size_t r = tape.code.size(); r-- > 0;) {
    const ScalarInstr& instr = tape.code[r];
    if (instr.op == ScalarOp::uniform) axes->live[r] = true;  // a kernel's parameters name each of them
    if (!axes->live[r]) continue;
    for (const int32_t operand : {instr.a, instr.b, instr.c}) {
      if (operand >= 0) axes->live[static_cast<size_t>(operand)] = true;
    }
    if (instr.op == ScalarOp::uniform) axes->ordinals[static_cast<size_t>(instr.b)] = true;
  }
  for (size_t r = 0; r < tape.code.size(); ++r) {
    if (tape.code[r].op == ScalarOp::uniform) axes->randoms.push_back(static_cast<int32_t>(r));
  }
}

// Strides over the results' dims, aligned from the right.
Dims strides_over(const GroupOperand& input, const Dims& space) {
  FLOE_CHECK(input.dims.size() <= space.size(), "an input {} in a group over {}", text_of(input.dims),
             text_of(space));
  Dims strides(space.size(), Dim(0));
  const size_t extra = space.size() - input.dims.size();
  for (size_t k = 0; k < input.dims.size(); ++k) {
    if (input.dims[k] == Dim(1)) continue;
    strides[k + extra] = input.strides[k];
  }
  return strides;
}

}  // namespace

GroupAxes merge_axes(const Tape& tape, std::span<const GroupOperand> inputs,
                     std::span<const GroupOperand> outputs) {
  GroupAxes axes;
  find_live(tape, &axes);
  const Dims& space = outputs[0].dims;
  for (size_t r = 0; r < tape.code.size(); ++r) {
    if (!axes.live[r] || tape.code[r].op != ScalarOp::input || axes.ordinals[r]) continue;
    const auto input = static_cast<size_t>(tape.code[r].imm);
    axes.loads.push_back(
        {static_cast<int32_t>(r), static_cast<int>(input), strides_over(inputs[input], space)});
  }
  // Uniform numbers need the coordinates as they are.
  const bool keep = !axes.randoms.empty();
  std::vector<Dims> merged(axes.loads.size());
  axes.count = 0;
  for (size_t k = 0; k < space.size(); ++k) {
    if (!keep && space[k] == Dim(1)) {
      axes.axis.push_back(-1);
      continue;
    }
    bool merge = axes.count > 0 && !keep;
    for (size_t i = 0; merge && i < merged.size(); ++i) {
      merge = merged[i].back() == axes.loads[i].strides[k] * space[k];
    }
    if (!merge) ++axes.count;
    for (size_t i = 0; i < merged.size(); ++i) {
      if (merge) {
        merged[i].back() = axes.loads[i].strides[k];
      } else {
        merged[i].push_back(axes.loads[i].strides[k]);
      }
    }
    axes.axis.push_back(axes.count - 1);
  }
  if (axes.count == 0) {
    axes.count = 1;
    for (Dims& strides : merged) strides.assign(1, Dim(0));
  }
  for (size_t i = 0; i < merged.size(); ++i) axes.loads[i].strides = std::move(merged[i]);
  return axes;
}

}  // namespace floe

// The iteration space of a printed group: its dims merged as far as all operands walk them as one.
#pragma once
#include <span>
#include <vector>

#include "compile/print_cuda.h"

namespace floe {

struct GroupAxes {
  // What an instruction reads, over the merged axes: 0 where it is broadcast.
  struct Load {
    int32_t reg;
    int input;
    Dims strides;
  };

  int count = 1;
  std::vector<int64_t> axis;     // by dim of the results: into which it was merged; -1: always 1
  std::vector<Load> loads;       // of live `input` instructions, but ordinals
  std::vector<bool> live;        // by register
  std::vector<int32_t> randoms;  // `uniform` instructions
  std::vector<bool> ordinals;    // by register: operand b of one of those
};

GroupAxes merge_axes(const Tape& tape, std::span<const GroupOperand> inputs,
                     std::span<const GroupOperand> outputs);

}  // namespace floe

// Fused pointwise groups as CUDA C++ for NVRTC: no headers, sizes known only when they run. What is known
// when a kernel is printed is the shape of its work: which inputs are broadcast along which dims, and which
// neighbouring dims all operands walk as one. So a group over operands of one dense shape becomes one long
// row; a bias or a value for each row leaves rows of the last dim; anything else goes on with more
// coordinates of a row, found by multiplications. Equal groups of a program, whatever their sizes, share a
// kernel.
//
// Element by element a kernel computes what the CPU does (tensor/scalar.h, kernel/cpu/scalar_math.h): the
// same bits in f32, but for sin, cos and pow, and for an integer divided by zero, which is 0. bf16 and f16
// are computed in f32 and rounded half to even where they are stored or cast to, not between operations.
#pragma once
#include <map>
#include <span>
#include <string>

#include "runtime/program.h"
#include "tensor/scalar.h"
#include "tensor/tensor.h"

namespace floe {

// A value as a step sees it; strides in elements.
struct GroupOperand {
  DType dtype = DType::f32;
  Dims dims;
  Dims strides;
};
GroupOperand operand_of(const View& view);

// The source of many groups: what all need, and each different kernel once.
class CudaGroups {
 public:
  // Sets what the kernel of op `group` needs of its step: "function", its name; "axes", for each dim of the
  // results the axis it was merged into or -1 for a dim that is always 1; "vector", a thread's columns. The
  // step also has "tape". The results are row-major. Throws Error{user} for f64.
  void add(const Tape& tape, std::span<const GroupOperand> inputs, std::span<const GroupOperand> outputs,
           Attrs* attrs);

  std::string source() const;  // "" where there is none

 private:
  std::map<std::string, std::string> names_;  // by the kernel's text without its name
  std::string kernels_;
};

// One group alone, for tests: the source of its kernel, and its step's attributes in `attrs`.
std::string cuda_source(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs,
                        Attrs* attrs);

// Prints the groups of all entries into program->source.
void print_cuda_groups(Program* program);

}  // namespace floe

// What the copy engine (tma.cuh) knows of a tensor in global memory: a CUtensorMap, made on the host without
// device work and passed as a __grid_constant__ kernel parameter. It holds the tensor's address.
#pragma once
#include <cuda.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace floe {

// A tensor of four dims, innermost first, and the box that one copy moves.
struct BoxedTensor {
  const void* data = nullptr;
  DType dtype = DType::bf16;  // bf16, f16, f32 or i8
  int64_t dims[4] = {1, 1, 1, 1};
  int64_t strides[4] = {1, 0, 0,
                        0};   // elements; that of the innermost dim is 1, that of a dim of 1 is not used
  int box[4] = {1, 1, 1, 1};  // at most 256 each
  bool swizzled = true;       // by 128 bytes, at most that long in the innermost dim
};

// Whether the copy engine takes it: address and strides are multiples of 16 bytes, no dim is 0.
bool can_map(const BoxedTensor& tensor);

// Throws Error{device} where the driver has no such function or refuses; a tensor that can_map() refuses is a
// bug.
CUtensorMap tensor_map(const BoxedTensor& tensor);

}  // namespace floe

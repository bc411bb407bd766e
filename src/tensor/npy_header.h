// The head of a .npy file (numpy.lib.format): magic, version, length, and a Python dict as text:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace floe {

constexpr size_t kNpyPrefixBytes = 12;  // as much as says how long the head is; version 1 uses 10 of them

struct NpyHeader {
  DType dtype = DType::f32;
  bool column_major = false;
  Shape shape;
};

// Bytes before the data, from the first kNpyPrefixBytes. `what` opens each message. Throw Error{user}.
uint64_t npy_head_bytes(std::string_view prefix, std::string_view what);
NpyHeader parse_npy_head(std::string_view head, std::string_view what);

// Padded as NumPy pads, so that the data starts at a multiple of 64. Throws Error{user} for bf16.
std::string npy_head(DType dtype, const Shape& shape, std::string_view what);

}  // namespace floe

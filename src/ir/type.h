// What a value is: element type and dims, known or symbolic. Text: f32[B, S, 512].
#pragma once
#include <string>

#include "tensor/dim.h"
#include "tensor/dtype.h"

namespace floe {

struct Type {
  DType dtype = DType::f32;
  Dims dims;

  int rank() const { return static_cast<int>(dims.size()); }
  const Dim& dim(int i) const { return dims[static_cast<size_t>(i < 0 ? rank() + i : i)]; }
  Dim size() const { return product(dims); }
  bool operator==(const Type& other) const = default;
};

inline std::string text_of(const Type& type) { return std::string(name_of(type.dtype)) + text_of(type.dims); }

}  // namespace floe

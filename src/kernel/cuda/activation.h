// An activation over n values in place, with a bias [columns] added first if there is one: what follows a
// product whose library epilogue does not have it.
#pragma once
#include <cstdint>
#include <string_view>

#include "tensor/dtype.h"

namespace floe {

enum class CudaActivation { none, relu, gelu, gelu_tanh, silu, sigmoid, tanh };

bool find_activation(std::string_view name, CudaActivation* activation);  // "" is none

struct ActivationCall {
  CudaActivation activation = CudaActivation::none;
  DType type = DType::f32;     // of x and the bias: f32 or bf16
  void* x = nullptr;           // aligned to 16 bytes
  const void* bias = nullptr;  // rarely: a product adds its bias itself
  int64_t rows = 0, columns = 0;
};
void apply_activation(const ActivationCall& call, void* stream);

}  // namespace floe

// Activations on rows in place: what a product does to its panel while it is in cache. Same operations in the
// same order as the rows of the scalar functions of these names.
#pragma once
#include <cstdint>
#include <string_view>

namespace floe {

enum class RowActivation { none, relu, gelu, gelu_tanh, silu, sigmoid, tanh };

// "" is none. False when there is no vector form of that name.
bool find_activation(std::string_view name, RowActivation* activation);

void apply_activation(RowActivation activation, float* x, int64_t row_stride, int64_t rows, int64_t columns);

}  // namespace floe

// Short forms of the ops that layers call most.
#pragma once
#include <string>
#include <string_view>

#include "ir/builder.h"

namespace floe {

// x [..., in] by weight [out, in], plus bias [out] if there is one, through a scalar function if one is named.
inline Value call_linear(Builder& b, Value x, Value weight, Value bias, std::string_view activation) {
  Values inputs{x, weight};
  if (bias) inputs.push_back(bias);
  return b.add("matmul", std::move(inputs),
               {{"transpose_a", false}, {"transpose_b", true}, {"activation", std::string(activation)}});
}

inline Value call_slice(Builder& b, Value x, int64_t axis, Dim begin, Dim length) {
  return b.add("slice", {x}, {{"axis", axis}, {"begin", Dims{std::move(begin)}}, {"length", Dims{std::move(length)}}});
}

}  // namespace floe

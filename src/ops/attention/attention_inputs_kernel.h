// Which optional inputs attention and attention_grad have, and where they lie.
#pragma once
#include <cstddef>

#include "tensor/attrs.h"

namespace floe {

// Each input is there when the attribute of its name is true, seed and ordinals when dropout is above 0; in
// this order, after the `first` inputs that are always there. kAbsent where it is not.
struct AttentionInputs {
  static constexpr size_t kAbsent = ~size_t{0};
  size_t lengths = kAbsent, query_lengths = kAbsent, bias = kAbsent, slopes = kAbsent;
  size_t dlse = kAbsent;  // of the gradient alone
  size_t seed = kAbsent, ordinals = kAbsent;
  size_t count = 0;  // of all inputs

  static AttentionInputs of(const Attrs& attrs, size_t first) {
    AttentionInputs at;
    if (attrs.flag("lengths")) at.lengths = first++;
    if (attrs.flag("query_lengths", false)) at.query_lengths = first++;
    if (attrs.flag("bias", false)) at.bias = first++;
    if (attrs.flag("slopes", false)) at.slopes = first++;
    if (attrs.flag("dlse", false)) at.dlse = first++;
    if (attrs.number("dropout", 0) > 0) {
      at.seed = first++;
      at.ordinals = first++;
    }
    at.count = first;
    return at;
  }
  // Those that hold floats; f32 whatever the type of q.
  bool is_float(size_t input) const { return input == bias || input == slopes || input == dlse; }
};

}  // namespace floe

// What one pass of the training step is fed.
#pragma once
#include "tensor/tensor.h"

namespace floe {

// A padded batch: i32, source [B, S], source_lengths [B], target_in and target_out [B, T], ordinals [B] (the
// sentence's number in the update's global batch, which dropout masks are keyed by).
struct BatchTensors {
  Tensor source, source_lengths, target_in, target_out, ordinals;
};

}  // namespace floe

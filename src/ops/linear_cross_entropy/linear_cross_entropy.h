// Cross-entropy of a linear classifier without its logits: with logits = x weight^T + bias and V classes, a
// position whose target is not ignore_index has
//   nll  = logsumexp(logits) - logits[target]
//   loss = (1 - e) nll + e (logsumexp(logits) - mean(logits))      e = label_smoothing
// (Szegedy et al., "Rethinking the Inception architecture", 2016). Sums over positions; a position with a
// logit that is not finite gives NaN. The _grad op gives the same sums and their gradients for d loss = 1, in
// one pass.
#pragma once
#include "ir/builder.h"

namespace floe {

struct LinearCrossEntropy {
  Value x;          // [..., d]
  Value weight;     // [V, d]
  Value targets;    // i32 [...]
  Value bias = {};  // [V]
  double label_smoothing = 0;
  int64_t ignore_index = -1;
};
struct CrossEntropySums {
  Value loss, nll, tokens;  // f32 []; only loss has a gradient
};
CrossEntropySums linear_cross_entropy(Builder& b, const LinearCrossEntropy& args);

struct CrossEntropyGradients {
  CrossEntropySums sums;
  Value dx, dweight, dbias;
};
CrossEntropyGradients linear_cross_entropy_grad(Builder& b, const LinearCrossEntropy& args);

}  // namespace floe

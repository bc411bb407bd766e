// More than 2^31 elements: logits of a real vocabulary for the rows of a large batch.
#include <gtest/gtest.h>

#include "testing/large_case.h"

namespace floe {
namespace {

TEST(SoftmaxLarge, TakesMoreElementsThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  for (const char* op : {"softmax", "log_softmax"}) {
    SCOPED_TRACE(op);
    OpCase floats{op, {CaseInput::normal({1013, 4099})}, {}, 0};
    check_large({.one = std::move(floats), .times = 540});
    OpCase halves{op, {CaseInput::normal({101, 65536}, DType::bf16)}, {}, 0};
    check_large({.one = std::move(halves), .times = 340});
  }
}

}  // namespace
}  // namespace floe

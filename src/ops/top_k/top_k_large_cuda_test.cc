// The largest of rows that have more than 2^31 elements together.
#include <gtest/gtest.h>

#include "testing/large_case.h"

namespace floe {
namespace {

TEST(TopKLarge, TakesMoreElementsThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    OpCase one{"top_k", {CaseInput::normal({1013, 4099}, dtype)}, {{"k", int64_t{5}}}, 0};
    check_large({.one = std::move(one), .times = 540, .results = {0, 1}});
  }
}

}  // namespace
}  // namespace floe

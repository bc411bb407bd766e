// A printed group over more than 2^31 elements: each with its row's operand and its column's.
#include <gtest/gtest.h>

#include "testing/large_case.h"

namespace floe {
namespace {

TEST(GroupLarge, TakesMoreElementsThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    OpCase columns{"add", {CaseInput::normal({1013, 4099}, dtype), CaseInput::normal({4099}, dtype)}, {}, 0};
    check_large({.one = std::move(columns), .times = 540, .repeated = 1});
    OpCase rows{"mul", {CaseInput::normal({1013, 4099}, dtype), CaseInput::normal({1013, 1}, dtype)}, {}, 0};
    check_large({.one = std::move(rows), .times = 540});
  }
}

}  // namespace
}  // namespace floe

#include "ops/gather/gather.h"

#include <gmock/gmock.h>

#include <cmath>

#include "ops/all.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase case_of(Shape shape, Shape indices, int64_t axis, DType index = DType::i64) {
  const int64_t n = shape[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(shape.size()) : axis)];
  OpCase c{"gather",
           {CaseInput::normal(std::move(shape)),
            CaseInput::integers(std::move(indices), 0, std::max<int64_t>(n, 1), index)},
           {{"axis", axis}}};
  c.ulps = 0;
  return c;
}

TEST(Gather, TakesEntriesAlongEveryAxis) {
  for (const DType index : {DType::i32, DType::i64}) {
    for (const int64_t axis : {0, 1, 2, -1}) {
      check_kernel(case_of({5, 7, 3}, {4}, axis, index));
      check_kernel(case_of({5, 7, 3}, {2, 3}, axis, index));
      check_kernel(case_of({5, 7, 3}, {}, axis, index));
    }
  }
  check_kernel(case_of({300, 3}, {70000}, 0));
}

TEST(Gather, TakesEveryElementType) {
  for (const DType dtype : {DType::i8, DType::u8, DType::i32, DType::i64, DType::boolean}) {
    OpCase c = case_of({4, 9}, {3}, 1);
    c.inputs[0] = CaseInput::integers({4, 9}, 0, dtype == DType::boolean ? 2 : 100, dtype);
    check_kernel(c);
  }
}

TEST(Gather, MayBeEmpty) {
  check_kernel(case_of({5, 4}, {0}, 0));
  check_kernel(case_of({5, 0}, {3}, 0));
  check_kernel(case_of({0, 5}, {3}, 1));
}

TEST(Gather, HasAGradient) {
  check_gradient(case_of({4, 5}, {6}, 0));
  check_gradient(case_of({4, 5}, {2, 3}, 1));
  check_gradient(case_of({2, 4, 3}, {5}, 1));
}

TEST(Gather, RefusesIndicesOutside) {
  FLOE_NEEDS_CPU();  // a kernel on a GPU cannot
  for (const int64_t index : {int64_t{-1}, int64_t{3}, INT64_MAX, INT64_MIN}) {
    Tensor indices(DType::i64, {2});
    indices.as<int64_t>()[1] = index;
    const OpCase c{
        "gather", {CaseInput::normal({3, 2}), CaseInput::of(std::move(indices))}, {{"axis", int64_t{0}}}};
    try {
      run_kernel(c);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()), fmt::format("[gather] index {} at position 1 is outside 0..2", index));
    }
  }
}

TEST(GatherCuda, GivesNanForAnIndexOutsideAndReadsNothing) {
  FLOE_NEEDS_CUDA();
  const CaseInput indices = CaseInput::of(Tensor::from_ints({4}, {1, -1, 3, INT32_MAX}));
  const std::vector<Tensor> floats =
      run_kernel({"gather", {CaseInput::normal({3, 2}), indices}, {{"axis", int64_t{0}}}});
  const std::vector<Tensor> integers = run_kernel(
      {"gather", {CaseInput::integers({3, 2}, 1, 9, DType::i64), indices}, {{"axis", int64_t{0}}}});
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(std::isnan(floats[0].at(i)), i >= 2) << i;
    EXPECT_EQ(integers[0].at(i) == 0, i >= 2) << i;
  }
}

TEST(Gather, RefusesIndicesThatAreNone) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {3, 4}}), y = b.input("y", {DType::f32, {2}});
  try {
    gather(b, x, y, 0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[gather] indices must be i32 or i64, got f32[2]");
  }
}

}  // namespace
}  // namespace floe

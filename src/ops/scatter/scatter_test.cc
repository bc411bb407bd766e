#include "ops/scatter/scatter.h"

#include <gmock/gmock.h>

#include <limits>

#include "ops/all.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase case_of(Shape shape, int64_t updates, const std::string& reduction, DType index = DType::i64) {
  Shape rows = shape;
  rows[0] = updates;
  const int64_t n = std::max<int64_t>(shape[0], 1);
  return {"scatter",
          {CaseInput::normal(std::move(shape)), CaseInput::integers({updates}, 0, n, index),
           CaseInput::normal(rows)},
          {{"reduction", reduction}}};
}

TEST(Scatter, JoinsRowsInOrder) {
  for (const char* reduction : {"none", "add", "mul", "max", "min"}) {
    SCOPED_TRACE(reduction);
    check_kernel(case_of({5}, 9, reduction));
    check_kernel(case_of({5, 3}, 9, reduction, DType::i32));
    check_kernel(case_of({4, 2, 1500}, 7, reduction));
    check_kernel(case_of({4, 3}, 0, reduction));
    check_kernel(case_of({4, 0}, 2, reduction));
  }
}

TEST(Scatter, JoinsIntegersThatWrap) {
  for (const DType dtype : {DType::i8, DType::u8, DType::i32, DType::i64}) {
    for (const char* reduction : {"none", "add", "mul", "max", "min"}) {
      const int64_t low = dtype == DType::u8 ? 0 : -100;
      check_kernel({"scatter",
                    {CaseInput::integers({5, 3}, low, 100, dtype), CaseInput::integers({8}, 0, 5, DType::i64),
                     CaseInput::integers({8, 3}, low, 100, dtype)},
                    {{"reduction", std::string(reduction)}}});
    }
  }
}

TEST(Scatter, KeepsNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const char* reduction : {"none", "add", "mul", "max", "min"}) {
    check_kernel({"scatter",
                  {CaseInput::of(Tensor::from_floats({3}, {nan, 1, 2})),
                   CaseInput::of(Tensor::from_ints({3}, {0, 1, 1})),
                   CaseInput::of(Tensor::from_floats({3}, {1, nan, 5}))},
                  {{"reduction", std::string(reduction)}}});
  }
}

TEST(Scatter, HasAGradientWhereItAdds) {
  check_gradient(case_of({4, 3}, 6, "add"));
  EXPECT_THROW(check_gradient(case_of({4, 3}, 6, "mul")), Error);
}

TEST(Scatter, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {3, 4}}), at = b.input("at", {DType::i64, {2}}),
              y = b.input("y", {DType::f32, {3, 4}}), z = b.input("z", {DType::f32, {2, 4}});
  const auto message = [&](Value indices, Value updates, const char* reduction) -> std::string {
    try {
      scatter(b, x, indices, updates, reduction);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(at, y, "none"), "[scatter] updates f32[3, 4] do not fit f32[3, 4] with 2 indices");
  EXPECT_EQ(message(x, z, "none"), "[scatter] indices must be i32 or i64 of rank 1, got f32[3, 4]");
  EXPECT_EQ(message(at, z, "xor"), "[scatter] reduction 'xor' is unknown; none, add, mul, max and min are");
  EXPECT_EQ(message(at, z, "add"), "");
}

TEST(Scatter, RefusesIndicesOutside) {
  FLOE_NEEDS_CPU();  // a kernel on a GPU cannot
  const OpCase outside{
      "scatter",
      {CaseInput::normal({3}), CaseInput::of(Tensor::from_ints({1}, {3})), CaseInput::normal({1})},
      {{"reduction", std::string("add")}}};
  try {
    run_kernel(outside);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[scatter] index 3 at position 0 is outside 0..2");
  }
}

}  // namespace
}  // namespace floe

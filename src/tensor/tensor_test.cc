#include "tensor/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

constexpr DType kAll[] = {DType::f32, DType::bf16, DType::f16, DType::f64,    DType::i8,
                          DType::u8,  DType::i32,  DType::i64, DType::boolean};

TEST(Tensor, IsZeroedAndAligned) {
  for (const DType type : kAll) {
    const Tensor tensor(type, {3, 5});
    EXPECT_EQ(tensor.size(), 15);
    EXPECT_EQ(tensor.bytes(), 15 * size_of(type));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0u);
    for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(tensor.at(i), 0);
  }
}

TEST(Tensor, SizesZeroAndRankZeroAreRight) {
  const Tensor empty(DType::f32, {4, 0, 3});
  EXPECT_EQ(empty.size(), 0);
  EXPECT_EQ(empty.bytes(), 0u);
  const Tensor scalar = Tensor::scalar(2.5f);
  EXPECT_EQ(scalar.shape(), Shape{});
  EXPECT_EQ(scalar.size(), 1);
  EXPECT_EQ(scalar.at(0), 2.5);
  EXPECT_EQ(count({}), 1);
  EXPECT_EQ(text_of(Shape{2, 3}), "[2, 3]");
}

TEST(Tensor, EveryTypeHoldsWhatItWasGiven) {
  for (const DType type : kAll) {
    Tensor tensor(type, {4});
    tensor.set(2, 1);
    EXPECT_EQ(tensor.at(2), 1) << name_of(type);
    EXPECT_EQ(tensor.at(1), 0);
    EXPECT_EQ(tensor.at(3), 0);
  }
  EXPECT_EQ(Tensor::from_doubles(DType::i8, {2}, {-128, 127}).at(0), -128);
  EXPECT_EQ(Tensor::from_doubles(DType::boolean, {1}, {7}).at(0), 1);
  EXPECT_EQ(Tensor::from_doubles(DType::bf16, {1}, {1 + 0x1p-8 + 0x1p-40}).at(0), 1 + 0x1p-7);
  EXPECT_EQ(Tensor::from_ints({2}, {5, -6}).at(1), -6);
  EXPECT_EQ(Tensor::from_floats({1, 2}, {5, -6}).as<float>()[1], -6.0f);
}

TEST(Tensor, ACopyHasTheSameBitsInMemoryOfItsOwn) {
  for (const Shape& shape : {Shape{2, 3}, Shape{}, Shape{4, 0}}) {
    Tensor tensor(DType::bf16, shape);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, static_cast<double>(i) + 0.5);
    const Tensor copy = copy_of(tensor);
    EXPECT_EQ(copy.dtype(), tensor.dtype());
    EXPECT_EQ(copy.shape(), tensor.shape());
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const double was = tensor.at(i);
      tensor.set(i, -1);
      EXPECT_EQ(copy.at(i), was);
    }
  }
}

TEST(Tensor, RefusesImpossibleShapesAndMiscountedValues) {
  EXPECT_THAT(refusal(ErrorKind::user, [] { Tensor(DType::f32, {2, -1}); }),
              HasSubstr("shape [2, -1] has a negative size"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { (void)count({INT64_C(1) << 40, INT64_C(1) << 40}); }),
              HasSubstr("is too large"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { (void)count({(INT64_C(1) << 59) + 1}); }),
              HasSubstr("is too large"));
  EXPECT_THAT(refusal(ErrorKind::bug, [] { Tensor::from_floats({3}, {1, 2}); }),
              HasSubstr("2 values for shape [3]"));
}

TEST(View, RowMajorStridesAndRows) {
  Tensor tensor(DType::f32, {2, 3, 4});
  const View view = view_of(tensor);
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.stride(0), 12);
  EXPECT_EQ(view.stride(-1), 1);
  EXPECT_EQ(view.dim(-2), 3);
  EXPECT_EQ(view.rows(), 6);
  EXPECT_EQ(view.size(), 24);
  EXPECT_EQ(view.shape(), (Shape{2, 3, 4}));
  EXPECT_TRUE(view.contiguous());
  EXPECT_EQ(View(nullptr, DType::f32, {}).rows(), 1);
  EXPECT_EQ(View(nullptr, DType::f32, {5, 0}).rows(), 5) << "rows without features are rows";
  EXPECT_THAT(refusal(ErrorKind::bug, [] { View(nullptr, DType::f32, {1, 1, 1, 1, 1, 1, 1, 1, 1}); }),
              HasSubstr("rank 9"));
}

TEST(View, StridesOfDimsOfOneDoNotBreakContiguity) {
  View view(nullptr, DType::f32, {4, 1, 3});
  view.strides[1] = 99;
  EXPECT_TRUE(view.contiguous());
  view.strides[0] = 6;
  EXPECT_FALSE(view.contiguous());
  view.dims[2] = 0;
  EXPECT_TRUE(view.contiguous());
  View broadcast(nullptr, DType::f32, {4, 3});
  broadcast.strides[0] = 0;
  EXPECT_FALSE(broadcast.contiguous());
}

}  // namespace
}  // namespace floe

#include "ops/softmax/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class SoftmaxOps : public testing::TestWithParam<const char*> {
 protected:
  OpCase make(CaseInput x) const { return {GetParam(), {std::move(x)}}; }
};

TEST_P(SoftmaxOps, HaveTheReferencesValuesAtOddSizes) {
  for (const Shape& shape : {Shape{0, 5}, {3, 0}, {1}, {1, 1}, {7, 17}, {2, 3, 31}, {5, 1031}, {2, 40000}}) {
    SCOPED_TRACE(text_of(shape));
    check_kernel(make(CaseInput::normal(shape)));
  }
}

TEST_P(SoftmaxOps, TakeManyRows) { check_kernel(make(CaseInput::normal({70001, 3}))); }

TEST_P(SoftmaxOps, SurviveLargeAndInfiniteInputs) {
  const float max = std::numeric_limits<float>::max();
  check_kernel(make(CaseInput::of(
      Tensor::from_floats({7, 3}, {1e4f, 1e4f, -1e4f, -kInf, 0,    1,    -kInf, -kInf, -kInf, kNan, 0,
                                   1,    kInf, 0,     1,     -max, -max, 0,     0,     kNan,  -kInf}))));
}

TEST_P(SoftmaxOps, MeanWhatTheyCompute) {
  check_meaning(make(CaseInput::normal({4, 9})));
  check_meaning(make(CaseInput::of(Tensor::from_floats({2, 2}, {-kInf, 1, 3, 4}))));
}

TEST_P(SoftmaxOps, HaveTheRightGradient) { check_gradient(make(CaseInput::normal({3, 2, 7}))); }

TEST_P(SoftmaxOps, GiveARowTheSameBitsWhateverLiesBesideIt) {
  const OpCase many = make(CaseInput::normal({65, 37}));
  const std::vector<Tensor> all = run_kernel(many);
  Tensor last(DType::f32, {1, 37});
  const Tensor x = tensor_of(case_inputs(many)[0]);
  std::memcpy(last.data(), x.as<float>() + 64 * 37, last.bytes());
  const std::vector<Tensor> one = run_kernel(make(CaseInput::of(std::move(last))));
  EXPECT_EQ(std::memcmp(one[0].data(), all[0].as<float>() + 64 * 37, one[0].bytes()), 0);
}

INSTANTIATE_TEST_SUITE_P(All, SoftmaxOps, testing::Values("softmax", "log_softmax"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Softmax, GivesZeroForARowOfMinusInfinity) {
  const std::vector<Tensor> y =
      run_kernel({"softmax", {CaseInput::of(Tensor::from_floats({1, 3}, {-kInf, -kInf, -kInf}))}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(y[0].at(i), 0);
}

TEST(Softmax, RefusesIntegersAndScalars) {
  Graph graph(all_ops(), "refusals");
  Builder b(graph);
  const auto message = [&](Type type, const char* name) {
    try {
      softmax(b, b.input(name, std::move(type)));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message({DType::i32, {Dim(3)}}, "a"), "[softmax] input 0 must be floating, got i32[3]");
  EXPECT_EQ(message({DType::f32, {}}, "b"), "[softmax] needs a last dim, got f32[]");
}

}  // namespace
}  // namespace floe

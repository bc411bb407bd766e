#include "tensor/range_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

using Floats = std::vector<float>;

Floats normals(size_t n, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats out(n);
  for (float& x : out) x = normal(random);
  return out;
}

RangeHistogram of(const Floats& values) {
  RangeHistogram h;
  h.add(values);
  h.end_sample();
  return h;
}

const RangeMethod kAll[] = {RangeMethod::minmax, RangeMethod::average, RangeMethod::percentile,
                            RangeMethod::entropy, RangeMethod::mse};

TEST(RangeHistogram, MinMaxIsTheLargestSizeItself) {
  EXPECT_EQ(of({0.5f, -3.25f, 1}).range({RangeMethod::minmax}), 3.25f);
}

TEST(RangeHistogram, TheAverageIsOverSamplesNotValues) {
  RangeHistogram h;
  h.add(Floats(1000, 1.0f));
  h.end_sample();
  h.add(Floats{-3});
  h.end_sample();
  EXPECT_EQ(h.range({RangeMethod::average}), 2);
}

TEST(RangeHistogram, APercentileIsRightToTheWidthOfABinAndGrows) {
  const Floats x = normals(100000);
  Floats sizes;
  for (const float value : x) sizes.push_back(std::fabs(value));
  std::sort(sizes.begin(), sizes.end());
  const RangeHistogram h = of(x);
  float before = 0;
  for (const double p : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const float exact = sizes[static_cast<size_t>(std::ceil(p / 100 * 100000)) - 1];
    const float range = h.range({RangeMethod::percentile, p});
    EXPECT_GE(range, exact);
    EXPECT_LE(range, exact * (1 + 0x1p-9f));
    EXPECT_GE(range, before);
    before = range;
  }
  EXPECT_EQ(before, h.largest());
}

TEST(RangeHistogram, ZerosDoNotMoveAPercentile) {
  Floats x = normals(1000);
  const float without = of(x).range({RangeMethod::percentile, 99});
  x.resize(50000, 0.0f);
  EXPECT_EQ(of(x).range({RangeMethod::percentile, 99}), without);
}

double squared_error(const Floats& x, float range) {
  const float scale = scale_for(range);
  double sum = 0;
  for (const float value : x) {
    const double error = static_cast<double>(value) - dequantized(quantized(value, reciprocal(scale)), scale);
    sum += error * error;
  }
  return sum;
}

TEST(RangeHistogram, LeastSquaresClipsAnOutlierAndIsNoWorseThanMinMax) {
  Floats x = normals(20000);
  x.push_back(60);
  const RangeHistogram h = of(x);
  const float range = h.range({RangeMethod::mse});
  EXPECT_LT(range, 60);
  EXPECT_LT(squared_error(x, range), squared_error(x, 60));
  const Floats even{1, -1, 1, -1};
  EXPECT_LE(squared_error(even, of(even).range({RangeMethod::mse})), squared_error(even, 1));
}

TEST(RangeHistogram, EntropyCutsALongTailAndKeepsAnEvenRange) {
  Floats tail = normals(50000);
  tail.push_back(100);
  const float cut = of(tail).range({RangeMethod::entropy});
  EXPECT_LT(cut, 50);
  EXPECT_GT(cut, 2);
  Floats even(50000);
  for (size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 50000;
  EXPECT_GT(of(even).range({RangeMethod::entropy}), 0.9f);
}

TEST(RangeHistogram, NeitherOrderNorBatchesMatter) {
  const Floats x = normals(3000, 4);
  RangeHistogram forward, backward, left, right;
  for (size_t i = 0; i < 30; ++i) {
    const Floats sample(x.begin() + static_cast<long>(i) * 100, x.begin() + static_cast<long>(i) * 100 + 100);
    forward.add(sample);
    forward.end_sample();
    (i % 3 == 0 ? left : right).add(sample);
    (i % 3 == 0 ? left : right).end_sample();
  }
  for (size_t i = 30; i-- > 0;) {
    const std::span<const float> sample = std::span(x).subspan(i * 100, 100);
    for (const float value : sample) backward.add({&value, 1});  // one at a time
    backward.end_sample();
  }
  left.merge(right);
  for (const RangeMethod method : kAll) {
    const float range = forward.range({method});
    EXPECT_EQ(backward.range({method}), range) << name_of(method);
    EXPECT_EQ(left.range({method}), range) << name_of(method);
  }
}

TEST(RangeHistogram, EveryMethodStaysWithinWhatWasSeen) {
  for (const Floats& x :
       {Floats{5}, Floats{-1e-12f}, Floats{1e-25f, 1}, Floats(100, -2.0f), normals(10), Floats{3e30f, 1}}) {
    const RangeHistogram h = of(x);
    for (const RangeMethod method : kAll) {
      const float range = h.range({method});
      EXPECT_GT(range, 0) << name_of(method);
      EXPECT_LE(range, h.largest()) << name_of(method);
    }
  }
  for (const RangeMethod method : kAll) EXPECT_EQ(of(Floats(10, 0.0f)).range({method}), 0);
}

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RangeHistogram, RefusesWhatIsNotFiniteAndWhatIsNoPercentage) {
  EXPECT_EQ(refusal([] { of({1, std::nanf("")}); }), "calibration met nan");
  EXPECT_EQ(refusal([] { of({1}).range({RangeMethod::percentile, 0}); }),
            "percentile must be above 0 and at most 100, got 0");
  RangeMethod method;
  EXPECT_EQ(refusal([&] { parse("max", &method); }),
            "'max' is none of minmax, average, percentile, entropy, mse");
  for (const RangeMethod each : kAll) {
    parse(name_of(each), &method);
    EXPECT_EQ(method, each);
  }
}

}  // namespace
}  // namespace floe

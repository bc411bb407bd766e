#include "kernel/cpu/gemm_int8.h"

#include <gtest/gtest.h>

#include <cstring>
#include <mutex>
#include <random>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/cpu/int8_tile.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

using Codes = std::vector<int8_t>;
using Floats = std::vector<float>;

enum class Fill { random, most, least, alternating };
Codes codes(int64_t n, Fill fill, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> any(-127, 127);
  Codes out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) {
    const int value = fill == Fill::random  ? any(random)
                      : fill == Fill::most  ? 127
                      : fill == Fill::least ? -127
                      : (i + seed) % 2 == 0 ? 127
                                            : -127;
    out[i] = static_cast<int8_t>(value);
  }
  return out;
}

// 64-byte aligned, with words behind it that must stay.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes), memory_(DType::u8, {static_cast<int64_t>(bytes + kGuard)}) {
    std::memset(memory_.data(), 0xA5, memory_.bytes());
  }
  void* data() { return memory_.data(); }
  bool intact() const {
    const auto* at = memory_.as<unsigned char>() + bytes_;
    return std::all_of(at, at + kGuard, [](unsigned char c) { return c == 0xA5; });
  }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes_;
  Tensor memory_;
};

struct Scales {
  Floats a{1}, b{1};
  Floats bias;
};

Floats multiply(const Codes& a, const Codes& b, int64_t m, int64_t n, int64_t k, const Scales& scales = {},
                bool pack = true, int threads = 2) {
  ThreadPool pool(threads);
  const GemmInt8 gemm(m, n, k);
  Scratch packed(gemm.packed_bytes()), workspace(gemm.workspace(threads, pack));
  Scratch c(static_cast<size_t>(m * n) * sizeof(float));
  if (pack) gemm.pack(b.data(), packed.data(), pool);
  gemm.run({.a = a.data(),
            .packed_b = pack ? packed.data() : nullptr,
            .b = b.data(),
            .a_scale = scales.a.data(),
            .b_scale = scales.b.data(),
            .a_scale_each = scales.a.size() > 1,
            .b_scale_each = scales.b.size() > 1,
            .bias = scales.bias.empty() ? nullptr : scales.bias.data(),
            .c = static_cast<float*>(c.data())},
           workspace.data(), pool);
  EXPECT_TRUE(packed.intact() && workspace.intact() && c.intact());
  const float* at = static_cast<float*>(c.data());
  return {at, at + m * n};
}

int32_t product(const Codes& a, const Codes& b, int64_t i, int64_t j, int64_t k) {
  int32_t sum = 0;
  for (int64_t l = 0; l < k; ++l)
    sum += a[static_cast<size_t>(i * k + l)] * b[static_cast<size_t>(j * k + l)];
  return sum;
}

class GemmInt8Test : public testing::TestWithParam<Int8Target> {
 protected:
  void SetUp() override { force_int8_target(GetParam()); }
  void TearDown() override { force_int8_target(int8_targets().back()); }
};

// Where 16-bit pairs would saturate, and where they would not.
TEST_P(GemmInt8Test, IsExactAtEveryDepthAndAtTheExtremes) {
  std::vector<int64_t> depths{4096};
  for (int64_t k = 1; k <= 257; ++k) depths.push_back(k);
  for (const int64_t k : depths) {
    for (const Fill fill : {Fill::random, Fill::most, Fill::least, Fill::alternating}) {
      const int64_t m = 3, n = 35;
      const Codes a = codes(m * k, fill, 1), b = codes(n * k, fill, 2);
      const Floats c = multiply(a, b, m, n, k);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(c[static_cast<size_t>(i * n + j)], static_cast<float>(product(a, b, i, j, k)))
              << i << "," << j << " depth " << k;
      }
    }
  }
}

TEST_P(GemmInt8Test, IsExactForEveryNumberOfRowsAndOddWidths) {
  for (const int64_t n : {1, 31, 32, 33, 97}) {
    for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 101}) {
      const int64_t k = 39;
      const Codes a = codes(m * k, Fill::random, 3), b = codes(n * k, Fill::random, 4);
      const Floats c = multiply(a, b, m, n, k);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(c[static_cast<size_t>(i * n + j)], static_cast<float>(product(a, b, i, j, k)))
              << m << " " << n;
      }
    }
  }
}

// AMX takes 16 rows by 64 of k; chunks are 512 deep.
TEST_P(GemmInt8Test, IsExactInWholeTilesAndBesideThem) {
  const int64_t n = 33;
  for (const int64_t m : {15, 16, 17, 31, 32, 33, 47, 48, 49, 100}) {
    for (const int64_t k : {63, 64, 65, 128, 191, 511, 512, 513, 576, 1031}) {
      for (const Fill fill : {Fill::random, Fill::alternating}) {
        const Codes a = codes(m * k, fill, 18), b = codes(n * k, fill, 19);
        const Floats c = multiply(a, b, m, n, k);
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j)
            ASSERT_EQ(c[static_cast<size_t>(i * n + j)], static_cast<float>(product(a, b, i, j, k)))
                << i << "," << j << " of " << m << " rows, depth " << k;
        }
      }
    }
  }
}

TEST_P(GemmInt8Test, ScalesAndAddsInTheStatedOrder) {
  const int64_t m = 14, n = 45, k = 70;
  const Codes a = codes(m * k, Fill::random, 5), b = codes(n * k, Fill::random, 6);
  Scales scales;
  std::mt19937 random(7);
  std::uniform_real_distribution<float> any(1e-3f, 3.0f);
  scales.a.resize(m);
  scales.b.resize(n);
  scales.bias.resize(n);
  for (Floats* each : {&scales.a, &scales.b, &scales.bias})
    for (float& x : *each) x = any(random);
  const Floats c = multiply(a, b, m, n, k, scales);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const auto sum = static_cast<float>(product(a, b, static_cast<int64_t>(i), static_cast<int64_t>(j), k));
      const float scaled = sum * scales.a[i] * scales.b[j];
      ASSERT_EQ(c[i * n + j], scaled + scales.bias[j]);
    }
  }
}

TEST_P(GemmInt8Test, TakesMinus128ToTheDeepestSum) {
  const int64_t k = kMostInt8Depth;
  const Codes a(static_cast<size_t>(k), -128), b(static_cast<size_t>(k), -128);
  EXPECT_EQ(multiply(a, b, 1, 1, k)[0], static_cast<float>(k * 128 * 128));
}

INSTANTIATE_TEST_SUITE_P(EveryTarget, GemmInt8Test, testing::ValuesIn(int8_targets()),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(GemmInt8, EveryTargetGivesTheSameBits) {
  const int64_t m = 61, n = 203, k = 1003;
  const Codes a = codes(m * k, Fill::random, 8), b = codes(n * k, Fill::random, 9);
  Scales scales;
  scales.a = Floats(m, 0.37f);
  scales.b = Floats(n, 0.011f);
  const Floats best = multiply(a, b, m, n, k, scales);
  for (const Int8Target target : int8_targets()) {
    force_int8_target(target);
    EXPECT_EQ(multiply(a, b, m, n, k, scales), best) << name_of(target);
  }
}

TEST(GemmInt8, ARowHasTheSameBitsForAnyNumberOfRowsAndThreads) {
  const int64_t most = 1500, n = 130, k = 64;
  const Codes a = codes(most * k, Fill::random, 10), b = codes(n * k, Fill::random, 11);
  const Floats whole = multiply(a, b, most, n, k);
  for (const int64_t m : {1, 2, 12, 13, 96, 97, 700}) {
    const Floats part = multiply(a, b, m, n, k, {}, true, 3);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << m;
  }
}

TEST(GemmInt8, TakesMoreThan65536Rows) {
  const int64_t m = 65537 + 12, n = 3, k = 5;
  const Codes a = codes(m * k, Fill::random, 12), b = codes(n * k, Fill::random, 13);
  const Floats c = multiply(a, b, m, n, k);
  for (const int64_t i : {int64_t{0}, int64_t{65535}, int64_t{65536}, m - 1}) {
    for (int64_t j = 0; j < n; ++j)
      EXPECT_EQ(c[static_cast<size_t>(i * n + j)], static_cast<float>(product(a, b, i, j, k)));
  }
}

TEST(GemmInt8, PacksAtEveryRunWhereTheWeightMayChange) {
  const int64_t m = 20, n = 70, k = 130;
  const Codes a = codes(m * k, Fill::random, 14), b = codes(n * k, Fill::random, 15);
  EXPECT_EQ(multiply(a, b, m, n, k, {}, /*pack=*/false), multiply(a, b, m, n, k));
}

TEST(GemmInt8, HandlesSizesOfZero) {
  EXPECT_TRUE(multiply({}, codes(6, Fill::most, 1), 0, 3, 2).empty());
  EXPECT_TRUE(multiply(codes(6, Fill::most, 1), {}, 3, 0, 2).empty());
  Scales scales;
  scales.bias = {1, 2, 3};
  EXPECT_EQ(multiply({}, {}, 2, 3, 0, scales), (Floats{1, 2, 3, 1, 2, 3}));
}

TEST(GemmInt8, CallsTheEpilogueOnceForEachElement) {
  ThreadPool pool(2);
  const GemmInt8 gemm(500, 900, 300);
  EXPECT_GT(gemm.panels(), 1);
  const Codes a = codes(500 * 300, Fill::random, 16), b = codes(900 * 300, Fill::random, 17);
  Scratch workspace(gemm.workspace(2, false));
  Floats c(500 * 900);
  const float one = 1;
  std::mutex mutex;
  int64_t seen = 0;
  gemm.run({.a = a.data(),
            .b = b.data(),
            .a_scale = &one,
            .b_scale = &one,
            .a_scale_each = false,
            .b_scale_each = false,
            .c = c.data()},
           workspace.data(), pool, [&](const GemmInt8::Panel& p) {
             const std::lock_guard lock(mutex);
             seen += p.rows * p.columns;
           });
  EXPECT_EQ(seen, 500 * 900);
}

TEST(GemmInt8, RefusesADepthThatMayOverflow) {
  try {
    GemmInt8(1, 1, kMostInt8Depth + 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "an INT8 product of depth 131072 may overflow; 131071 is the most");
  }
}

}  // namespace
}  // namespace floe

#include "kernel/cpu/gemm.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <vector>

#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

using Floats = std::vector<float>;

Floats normals(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(static_cast<size_t>(n));
  for (float& x : values) x = normal(random);
  return values;
}

struct Scratch {
  std::vector<char> bytes;
  size_t start;
  size_t size;
  explicit Scratch(size_t n)
      : bytes(n + 128, 0x5A), start(64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64), size(n) {}
  void* data() { return bytes.data() + start; }
  bool intact() const {
    return std::all_of(bytes.begin(), bytes.begin() + static_cast<int64_t>(start),
                       [](char b) { return b == 0x5A; }) &&
           std::all_of(bytes.begin() + static_cast<int64_t>(start + size), bytes.end(),
                       [](char b) { return b == 0x5A; });
  }
};

Floats multiply(const GemmShape& s, const Floats& a, const Floats& b, Floats c, int threads = 1) {
  const Gemm gemm(s);
  ThreadPool pool(threads);
  Scratch scratch(gemm.workspace(threads));
  gemm.run(a.data(), b.data(), c.data(), nullptr, scratch.data(), pool);
  EXPECT_TRUE(scratch.intact());
  return c;
}
Floats multiply(const GemmShape& s, const Floats& a, const Floats& b, int threads = 1) {
  return multiply(s, a, b, Floats(static_cast<size_t>(s.m * s.n)), threads);
}

bool same_bits(const float* a, const float* b, int64_t n) {
  return std::memcmp(a, b, static_cast<size_t>(n) * sizeof(float)) == 0;
}

struct Form {
  bool transpose_a, transpose_b;
};
constexpr Form kForms[] = {{false, false}, {false, true}, {true, false}, {true, true}};
struct Sizes {
  int64_t n, k;
};
constexpr Sizes kSizes[] = {{101, 37},   {512, 512}, {64, 64},  {48, 513},
                            {130, 1500}, {1, 300},   {1000, 1}, {2048, 256}};

GemmShape shape_of(int64_t m, Sizes size, Form form) {
  return {.m = m, .n = size.n, .k = size.k, .transpose_a = form.transpose_a, .transpose_b = form.transpose_b};
}

TEST(Gemm, GivesTheProductInEveryForm) {
  for (const Form form : kForms) {
    for (const Sizes size : kSizes) {
      const int64_t m = 37;
      const GemmShape s = shape_of(m, size, form);
      const Floats a = normals(m * s.k, 1), b = normals(s.k * s.n, 2);
      const Floats c = multiply(s, a, b);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double want = 0, size_of_terms = 0;
          for (int64_t k = 0; k < s.k; ++k) {
            const double term = static_cast<double>(a[form.transpose_a ? k * m + i : i * s.k + k]) *
                                b[form.transpose_b ? j * s.k + k : k * s.n + j];
            want += term;
            size_of_terms += std::fabs(term);
          }
          // |error| <= k eps sum|terms| (Higham, Accuracy and Stability, 3.1)
          ASSERT_NEAR(c[i * s.n + j], want, static_cast<double>(s.k) * 0x1p-24 * size_of_terms + 1e-30)
              << i << "," << j << " n " << s.n << " k " << s.k;
        }
      }
    }
  }
}

// Across the sizes where b is read in place, packed by each panel, and packed once for all.
TEST(Gemm, ARowHasTheSameBitsForAnyNumberOfRows) {
  constexpr int64_t kMost = 2048;
  for (const Form form : {Form{false, false}, Form{false, true}}) {
    for (const Sizes size : kSizes) {
      const Floats a = normals(kMost * size.k, 3), b = normals(size.k * size.n, 4);
      const Floats whole = multiply(shape_of(kMost, size, form), a, b, 2);
      for (const int64_t m : {1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 127, 257, 1000}) {
        const Floats part = multiply(shape_of(m, size, form), a, b, 2);
        ASSERT_TRUE(same_bits(part.data(), whole.data(), m * size.n))
            << "m " << m << " n " << size.n << " k " << size.k << " transpose_b " << form.transpose_b;
      }
    }
  }
}

// Kernels take that target, or this CPU's best again.
void use_target(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}
void use_best_target() { use_target(0); }

void check_order() {
  for (const Form form : kForms) {
    for (const bool accumulate : {false, true}) {
      for (const Sizes size : {Sizes{67, 37}, Sizes{40, 700}}) {
        GemmShape s = shape_of(17, size, form);
        s.accumulate = accumulate;
        const Floats a = normals(s.m * s.k, 5), b = normals(s.k * s.n, 6), start = normals(s.m * s.n, 7);
        const Floats c = multiply(s, a, b, start);
        for (int64_t i = 0; i < s.m; ++i) {
          for (int64_t j = 0; j < s.n; ++j) {
            float want = start[i * s.n + j];
            for (int64_t begin = 0; begin < s.k; begin += kGemmChunk) {
              float chunk = 0;
              for (int64_t k = begin; k < std::min(s.k, begin + kGemmChunk); ++k) {
                chunk = std::fma(a[form.transpose_a ? k * s.m + i : i * s.k + k],
                                 b[form.transpose_b ? j * s.k + k : k * s.n + j], chunk);
              }
              want = begin == 0 && !accumulate ? chunk : want + chunk;
            }
            ASSERT_EQ(c[i * s.n + j], want) << i << "," << j;
          }
        }
      }
    }
  }
}

TEST(Gemm, SumsInTheStatedOrderOnEveryTarget) {
  int checked = 0;
  for (const int64_t target : {HWY_AVX3, HWY_AVX2}) {
    if ((hwy::SupportedTargets() & target) == 0) continue;
    use_target(target);
    check_order();
    use_best_target();
    ++checked;
  }
  if (checked == 0) GTEST_SKIP() << "this CPU has no AVX2: the portable target rounds twice";
}

TEST(Gemm, ThePortableTargetGivesTheProduct) {
  use_target(HWY_SCALAR);
  const GemmShape s = shape_of(13, {40, 700}, {false, true});
  const Floats a = normals(s.m * s.k, 5), b = normals(s.k * s.n, 6);
  const Floats portable = multiply(s, a, b);
  use_best_target();
  const Floats best = multiply(s, a, b);
  for (int64_t i = 0; i < s.m * s.n; ++i) {
    ASSERT_NEAR(portable[i], best[i], 700 * 0x1p-24 * 700);  // k eps sum|terms|, terms about 1
  }
}

TEST(Gemm, PackedOnceForAllIsTheSameProduct) {
  for (const Form form : kForms) {
    const GemmShape s = shape_of(150, {90, 1100}, form);
    const Gemm gemm(s);
    const Floats a = normals(s.m * s.k, 14), b = normals(s.k * s.n, 15), bias = normals(s.n, 16);
    ThreadPool pool(2);
    Scratch packed(gemm.packed_bytes()), workspace(gemm.packed_workspace(2)), other(gemm.workspace(2));
    gemm.pack(b.data(), packed.data(), pool);
    Floats x(static_cast<size_t>(s.m * s.n)), y = x;
    int64_t seen = 0;
    std::mutex mutex;
    gemm.run_packed(a.data(), packed.data(), x.data(), bias.data(), workspace.data(), pool,
                    [&](const Gemm::Panel& p) {
                      const std::lock_guard lock(mutex);
                      seen += p.rows * p.columns;
                    });
    gemm.run(a.data(), b.data(), y.data(), bias.data(), other.data(), pool);
    EXPECT_TRUE(packed.intact() && workspace.intact() && other.intact());
    EXPECT_EQ(seen, s.m * s.n);
    EXPECT_TRUE(same_bits(x.data(), y.data(), s.m * s.n));
    const Floats plain = multiply(s, a, b);
    for (int64_t i = 0; i < s.m * s.n; ++i) ASSERT_EQ(x[i], plain[i] + bias[i % s.n]);
  }
}

TEST(Gemm, DoesNotDependOnTheNumberOfThreads) {
  for (const Form form : kForms) {
    const GemmShape s = shape_of(300, {700, 600}, form);
    const Floats a = normals(s.m * s.k, 8), b = normals(s.k * s.n, 9);
    const Floats one = multiply(s, a, b, 1);
    for (const int threads : {2, 3, 7}) {
      const Floats many = multiply(s, a, b, threads);
      ASSERT_TRUE(same_bits(one.data(), many.data(), s.m * s.n)) << threads;
    }
  }
}

TEST(Gemm, ReadsAndWritesPartsOfWiderMatrices) {
  for (const int64_t m : {3, 33, 200}) {
    const GemmShape s{.m = m, .n = 21, .k = 19, .transpose_b = true, .lda = 30, .ldb = 25, .ldc = 40};
    const Floats a = normals(m * 30, 10), b = normals(21 * 25, 11);
    const Floats c = multiply(s, a, b, Floats(static_cast<size_t>(m * 40), -7.0f));
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < 40; ++j) {
        double want = -7;
        if (j < 21) {
          want = 0;
          for (int64_t k = 0; k < 19; ++k) want += static_cast<double>(a[i * 30 + k]) * b[j * 25 + k];
        }
        ASSERT_NEAR(c[i * 40 + j], want, 1e-4) << i << "," << j;
      }
    }
  }
}

TEST(Gemm, HandlesSizesOfZero) {
  EXPECT_EQ(Gemm({.m = 0, .n = 3, .k = 2}).panels(), 0);
  EXPECT_EQ(Gemm({.m = 3, .n = 0, .k = 2}).panels(), 0);
  const GemmShape s{.m = 2, .n = 3, .k = 0};
  EXPECT_EQ(multiply(s, {}, {}, Floats(6, 5.0f)), Floats(6, 0.0f));
  GemmShape accumulating = s;
  accumulating.accumulate = true;
  EXPECT_EQ(multiply(accumulating, {}, {}, Floats(6, 5.0f)), Floats(6, 5.0f));
}

TEST(Gemm, CarriesNanAndInfinityToTheirRowOnly) {
  for (const int64_t m : {2, 40}) {
    const GemmShape s{.m = m, .n = 20, .k = 33, .transpose_b = true};
    Floats a = normals(m * 33, 12);
    const Floats b = normals(20 * 33, 13);
    a[33 + 4] = std::numeric_limits<float>::quiet_NaN();
    const Floats c = multiply(s, a, b);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < 20; ++j) ASSERT_EQ(std::isnan(c[i * 20 + j]), i == 1) << i << "," << j;
    }
  }
}

}  // namespace
}  // namespace floe

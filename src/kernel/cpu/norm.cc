// A row stays in the L1 cache between its passes; the mean is taken off before squares are summed. dgamma and
// dbeta are summed over rows in blocks whose number depends on how many rows there are and on nothing else,
// each block into its own partial sum, these one after the other.
#include "kernel/cpu/norm.h"

#include <algorithm>
#include <cmath>

#include "device/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/norm.cc"
#include "kernel/cpu/simd.h"
//
#include "kernel/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adds body(offset, mask) over the vectors of 0..n into one vector for each of four, then those: a fixed
// order that depends on n alone. Lanes outside the mask are left out.
template <class Body>
HWY_INLINE float sum_vectors(int64_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(d));
  const auto full = hn::FirstN(d, static_cast<size_t>(kStep));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kStep <= n; i += 4 * kStep) {
    s0 = hn::Add(s0, body(i, full));
    s1 = hn::Add(s1, body(i + kStep, full));
    s2 = hn::Add(s2, body(i + 2 * kStep, full));
    s3 = hn::Add(s3, body(i + 3 * kStep, full));
  }
  for (; i + kStep <= n; i += kStep) s0 = hn::Add(s0, body(i, full));
  if (i < n) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    s1 = hn::Add(s1, hn::IfThenElseZero(mask, body(i, mask)));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

struct RowMoments {
  float mean, rstd;
};
template <bool kCentred>
HWY_INLINE RowMoments row_moments(const float* x, int64_t n, float eps) {
  const hn::ScalableTag<float> d;
  RowMoments m{0, 0};
  if constexpr (kCentred) {
    m.mean = sum_vectors(n, [&](int64_t i, auto mask) { return hn::MaskedLoad(mask, d, x + i); }) /
             static_cast<float>(n);
  }
  const auto mean = hn::Set(d, m.mean);
  const float squares = sum_vectors(n, [&](int64_t i, auto mask) {
    const auto c = hn::Sub(hn::MaskedLoad(mask, d, x + i), mean);
    return hn::Mul(c, c);
  });
  m.rstd = 1 / std::sqrt(squares / static_cast<float>(n) + eps);
  return m;
}

// `beta` is null unless kCentred.
template <bool kCentred>
void norm_rows(const NormRows& rows) {
  const hn::ScalableTag<float> d;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = rows.x + row * rows.n;
    float* y = rows.y + row * rows.n;
    const RowMoments m = row_moments<kCentred>(x, rows.n, rows.eps);
    const auto mean = hn::Set(d, m.mean);
    const auto rstd = hn::Set(d, m.rstd);
    each_vector(rows.n, [&](int64_t i, auto mask) {
      auto v = hn::Mul(hn::Sub(hn::MaskedLoad(mask, d, x + i), mean), rstd);
      v = hn::Mul(v, hn::MaskedLoad(mask, d, rows.gamma + i));
      if constexpr (kCentred) v = hn::Add(v, hn::MaskedLoad(mask, d, rows.beta + i));
      hn::BlendedStore(v, mask, d, y + i);
    });
  }
}

// dx of the rows; adds their dy * xhat and (kCentred) dy to dgamma and dbeta, which are this block's own.
template <bool kCentred>
void norm_grad_rows(const NormGradRows& rows) {
  const hn::ScalableTag<float> d;
  const auto inverse = hn::Set(d, 1 / static_cast<float>(rows.n));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = rows.x + row * rows.n;
    const float* dy = rows.dy + row * rows.n;
    float* dx = rows.dx + row * rows.n;
    const RowMoments m = row_moments<kCentred>(x, rows.n, rows.eps);
    const auto mean = hn::Set(d, m.mean);
    const auto rstd = hn::Set(d, m.rstd);
    const auto scaled = [&](int64_t i, auto mask) {
      return hn::Mul(hn::MaskedLoad(mask, d, dy + i), hn::MaskedLoad(mask, d, rows.gamma + i));
    };
    const auto xhat = [&](int64_t i, auto mask) {
      return hn::Mul(hn::Sub(hn::MaskedLoad(mask, d, x + i), mean), rstd);
    };
    const auto mean_gx = hn::Mul(inverse, hn::Set(d, sum_vectors(rows.n, [&](int64_t i, auto mask) {
                                                    return hn::Mul(scaled(i, mask), xhat(i, mask));
                                                  })));
    auto mean_g = hn::Zero(d);
    if constexpr (kCentred) mean_g = hn::Mul(inverse, hn::Set(d, sum_vectors(rows.n, scaled)));
    each_vector(rows.n, [&](int64_t i, auto mask) {
      const auto h = xhat(i, mask);
      auto g = scaled(i, mask);
      if constexpr (kCentred) g = hn::Sub(g, mean_g);
      const auto gradient = hn::MaskedLoad(mask, d, dy + i);
      hn::BlendedStore(hn::Mul(rstd, hn::Sub(g, hn::Mul(h, mean_gx))), mask, d, dx + i);
      hn::BlendedStore(hn::MulAdd(gradient, h, hn::MaskedLoad(mask, d, rows.dgamma + i)), mask, d,
                       rows.dgamma + i);
      if constexpr (kCentred) {
        hn::BlendedStore(hn::Add(gradient, hn::MaskedLoad(mask, d, rows.dbeta + i)), mask, d, rows.dbeta + i);
      }
    });
  }
}

void layer_norm_rows(const NormRows& rows) { norm_rows<true>(rows); }
void layer_norm_grad_rows(const NormGradRows& rows) { norm_grad_rows<true>(rows); }
void rms_norm_rows(const NormRows& rows) { norm_rows<false>(rows); }
void rms_norm_grad_rows(const NormGradRows& rows) { norm_grad_rows<false>(rows); }

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {
namespace {

HWY_EXPORT(layer_norm_rows);
HWY_EXPORT(layer_norm_grad_rows);
HWY_EXPORT(rms_norm_rows);
HWY_EXPORT(rms_norm_grad_rows);

constexpr int64_t kElementsPerTask = 1 << 14;  // ten microseconds or so

struct RowBlocks {
  int64_t rows, block, blocks;
  // At least 32 rows, so that a partial sum is written seldom; at most 64 blocks, so that they take little
  // memory.
  explicit RowBlocks(int64_t count)
      : rows(count), block(std::max<int64_t>(32, (count + 63) / 64)), blocks((count + block - 1) / block) {}
};

// partial [blocks][n] -> sum [n], block by block.
void sum_blocks(ThreadPool& pool, const float* partial, int64_t blocks, int64_t n, float* sum) {
  pool.run_ranges(n, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) sum[i] = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t i = begin; i < end; ++i) sum[i] += partial[block * n + i];
    }
  });
}

bool all_f32(const KernelSignature& signature) {
  return std::ranges::all_of(signature.inputs, [](DType type) { return type == DType::f32; });
}

template <NormMean kMean>
BoundKernel bind_rows(const KernelCall& call) {
  constexpr bool kCentred = kMean == NormMean::subtracted;
  const int64_t n = call.inputs[0].dim(-1);
  const int64_t rows = call.inputs[0].rows();
  const auto eps = static_cast<float>(call.attrs.number("eps"));
  return {0, [=](const KernelRun& run) {
            const int64_t grain = kElementsPerTask / std::max<int64_t>(n, 1);
            run.pool->run_ranges(rows, grain, [&](int64_t begin, int64_t end, int) {
              const NormRows some{.x = run.inputs[0].as<float>(),
                                  .gamma = run.inputs[1].as<float>(),
                                  .beta = kCentred ? run.inputs[2].as<float>() : nullptr,
                                  .y = run.outputs[0].as<float>(),
                                  .begin = begin,
                                  .end = end,
                                  .n = n,
                                  .eps = eps};
              kCentred ? HWY_DYNAMIC_DISPATCH(layer_norm_rows)(some)
                       : HWY_DYNAMIC_DISPATCH(rms_norm_rows)(some);
            });
          }};
}

template <NormMean kMean>
BoundKernel bind_grad_rows(const KernelCall& call) {
  constexpr bool kCentred = kMean == NormMean::subtracted;
  constexpr int64_t kSums = kCentred ? 2 : 1;
  const int64_t n = call.inputs[0].dim(-1);
  const RowBlocks blocks(call.inputs[0].rows());
  const auto eps = static_cast<float>(call.attrs.number("eps"));
  return {static_cast<size_t>(kSums * blocks.blocks * n) * sizeof(float), [=](const KernelRun& run) {
            auto* sums = static_cast<float*>(run.workspace);  // [kSums, blocks, n]
            run.pool->run(blocks.blocks, [&](int64_t block, int) {
              float* dgamma = sums + block * n;
              float* dbeta = kCentred ? dgamma + blocks.blocks * n : nullptr;
              for (float* sum : {dgamma, dbeta}) {
                if (sum != nullptr) std::fill_n(sum, n, 0.0f);
              }
              const NormGradRows some{.x = run.inputs[0].as<float>(),
                                      .gamma = run.inputs[1].as<float>(),
                                      .dy = run.inputs[2].as<float>(),
                                      .dx = run.outputs[0].as<float>(),
                                      .dgamma = dgamma,
                                      .dbeta = dbeta,
                                      .begin = block * blocks.block,
                                      .end = std::min(blocks.rows, (block + 1) * blocks.block),
                                      .n = n,
                                      .eps = eps};
              kCentred ? HWY_DYNAMIC_DISPATCH(layer_norm_grad_rows)(some)
                       : HWY_DYNAMIC_DISPATCH(rms_norm_grad_rows)(some);
            });
            for (int64_t i = 0; i < kSums; ++i) {
              sum_blocks(*run.pool, sums + i * blocks.blocks * n, blocks.blocks, n,
                         run.outputs[static_cast<size_t>(1 + i)].as<float>());
            }
          }};
}

template <NormMean kMean>
void add(KernelTable& table, const std::string& op) {
  table.add({.op = op, .name = op + ".f32", .supports = all_f32, .bind = bind_rows<kMean>});
  table.add(
      {.op = op + "_grad", .name = op + "_grad.f32", .supports = all_f32, .bind = bind_grad_rows<kMean>});
}

}  // namespace

void add_norm_kernels(KernelTable& table, const std::string& op, NormMean mean) {
  mean == NormMean::subtracted ? add<NormMean::subtracted>(table, op) : add<NormMean::kept>(table, op);
}

}  // namespace floe
#endif  // HWY_ONCE

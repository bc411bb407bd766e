// absmax, quantize, dequantize and quantize_rows on f32. The largest |x| is found on bit patterns, where NaN
// is the largest of all; the codes are those of tensor/quantize.h, on every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/quantize/quantize_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include <algorithm>
#include <bit>

#include "tensor/quantize.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kMagnitude = 0x7fffffff;

int32_t row_absmax(const float* x, int64_t n) {
  const hn::ScalableTag<int32_t> d;
  constexpr int64_t kLanes = HWY_LANES(int32_t);
  const auto* bits = reinterpret_cast<const int32_t*>(x);
  const auto mask = hn::Set(d, kMagnitude);
  auto most = hn::Zero(d), other = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    most = hn::Max(most, hn::And(hn::LoadU(d, bits + i), mask));
    other = hn::Max(other, hn::And(hn::LoadU(d, bits + i + kLanes), mask));
  }
  int32_t result = hn::GetLane(hn::MaxOfLanes(d, hn::Max(most, other)));
  for (; i < n; ++i) result = std::max(result, bits[i] & kMagnitude);
  return result;
}

// The rows' largest |x|, of columns begin..end, into `most`.
void column_absmax(const float* x, int64_t rows, int64_t n, int64_t begin, int64_t end, float* most) {
  const auto* bits = reinterpret_cast<const int32_t*>(x);
  auto* out = reinterpret_cast<int32_t*>(most);
  std::fill(out + begin, out + end, 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = begin; j < end; ++j) out[j] = std::max(out[j], bits[row * n + j] & kMagnitude);
  }
}

// `scale_each`: a scale for each element, else one.
void codes_of_row(const float* x, int64_t n, const float* scale, bool scale_each, int8_t* q) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int8_t, decltype(d)> d8;
  constexpr int64_t kLanes = HWY_LANES(float);
  const auto one = hn::Set(d, 1.0f), low = hn::Set(d, -kMostCode), high = hn::Set(d, kMostCode);
  const float inverse = scale_each ? 0.0f : reciprocal(*scale);
  const auto all = hn::Set(d, inverse);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    auto v = hn::Mul(hn::LoadU(d, x + i), scale_each ? hn::Div(one, hn::LoadU(d, scale + i)) : all);
    v = hn::IfThenElseZero(hn::Eq(v, v), v);
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(hn::Min(hn::Max(v, low), high))), d8, q + i);
  }
  for (; i < n; ++i) q[i] = quantized(x[i], scale_each ? reciprocal(scale[i]) : inverse);
}

void values_of_row(const int8_t* q, int64_t n, const float* scale, bool scale_each, float* x) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<int8_t, decltype(d)> d8;
  constexpr int64_t kLanes = HWY_LANES(float);
  const auto all = hn::Set(d, scale_each ? 0.0f : *scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto v = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, q + i)));
    hn::StoreU(hn::Mul(v, scale_each ? hn::LoadU(d, scale + i) : all), d, x + i);
  }
  for (; i < n; ++i) x[i] = dequantized(q[i], scale[scale_each ? i : 0]);
}

void quantize_each_row(const float* x, int64_t rows, int64_t n, int8_t* q, float* scales) {
  for (int64_t row = 0; row < rows; ++row) {
    scales[row] = scale_for(std::bit_cast<float>(row_absmax(x + row * n, n)));
    codes_of_row(x + row * n, n, scales + row, /*scale_each=*/false, q + row * n);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"
#include "ops/quantize/quantize_kernel.h"

namespace floe {
namespace {

HWY_EXPORT(row_absmax);
HWY_EXPORT(column_absmax);
HWY_EXPORT(codes_of_row);
HWY_EXPORT(values_of_row);
HWY_EXPORT(quantize_each_row);

constexpr int64_t kElementsPerTask = 1 << 14;  // about ten microseconds
constexpr int64_t kColumnsPerTask = 256;

struct Matrix {
  explicit Matrix(const View& x) : n(x.dim(-1)), rows(n == 0 ? 0 : x.size() / n) {}
  int64_t n, rows;
  int64_t grain() const { return std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, n)); }
};

int32_t absmax_bits(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(row_absmax)(x, n); }

BoundKernel bind_absmax(const KernelCall& call) {
  const Matrix m(call.inputs[0]);
  const std::string per = call.attrs.text("per");
  if (per == "row") {
    const int64_t rows = call.outputs[0].size();
    return {0, [=](const KernelRun& run) {
              const float* x = run.inputs[0].as<float>();
              auto* out = run.outputs[0].as<int32_t>();
              run.pool->run_ranges(rows, m.grain(), [&](int64_t begin, int64_t end, int) {
                for (int64_t row = begin; row < end; ++row) out[row] = absmax_bits(x + row * m.n, m.n);
              });
            }};
  }
  if (per == "column") {
    return {0, [=](const KernelRun& run) {
              run.pool->run_ranges(m.n, kColumnsPerTask, [&](int64_t begin, int64_t end, int) {
                HWY_DYNAMIC_DISPATCH(column_absmax)
                (run.inputs[0].as<float>(), m.rows, m.n, begin, end, run.outputs[0].as<float>());
              });
            }};
  }
  const int64_t size = call.inputs[0].size(), blocks = (size + kElementsPerTask - 1) / kElementsPerTask;
  return {static_cast<size_t>(blocks) * sizeof(int32_t), [=](const KernelRun& run) {
            const float* x = run.inputs[0].as<float>();
            auto* most = static_cast<int32_t*>(run.workspace);
            run.pool->run(blocks, [&](int64_t block, int) {
              const int64_t begin = block * kElementsPerTask;
              most[block] = absmax_bits(x + begin, std::min(kElementsPerTask, size - begin));
            });
            *run.outputs[0].as<int32_t>() = blocks == 0 ? 0 : *std::max_element(most, most + blocks);
          }};
}

// f(row, scale of the row, is there one for each element)
template <class F>
BoundKernel by_rows(const KernelCall& call, F f) {
  const Matrix m(call.inputs[0]);
  const ScalePer per = scale_per(call.inputs[0].rank, call.inputs[1]);
  return {0, [=](const KernelRun& run) {
            const float* scale = run.inputs[1].as<float>();
            run.pool->run_ranges(m.rows, m.grain(), [&](int64_t begin, int64_t end, int) {
              for (int64_t row = begin; row < end; ++row)
                f(run, row * m.n, m.n, scale + (per == ScalePer::row ? row : 0), per == ScalePer::column);
            });
          }};
}

BoundKernel bind_quantize(const KernelCall& call) {
  return by_rows(call, [](const KernelRun& run, int64_t at, int64_t n, const float* scale, bool each) {
    HWY_DYNAMIC_DISPATCH(codes_of_row)
    (run.inputs[0].as<float>() + at, n, scale, each, run.outputs[0].as<int8_t>() + at);
  });
}

BoundKernel bind_dequantize(const KernelCall& call) {
  return by_rows(call, [](const KernelRun& run, int64_t at, int64_t n, const float* scale, bool each) {
    HWY_DYNAMIC_DISPATCH(values_of_row)
    (run.inputs[0].as<int8_t>() + at, n, scale, each, run.outputs[0].as<float>() + at);
  });
}

BoundKernel bind_quantize_rows(const KernelCall& call) {
  const Matrix m(call.inputs[0]);
  const int64_t rows = call.outputs[1].size();  // of no elements, too
  return {0, [=](const KernelRun& run) {
            const float* x = run.inputs[0].as<float>();
            int8_t* q = run.outputs[0].as<int8_t>();
            float* scales = run.outputs[1].as<float>();
            run.pool->run_ranges(rows, m.grain(), [&](int64_t begin, int64_t end, int) {
              HWY_DYNAMIC_DISPATCH(quantize_each_row)
              (x + begin * m.n, end - begin, m.n, q + begin * m.n, scales + begin);
            });
          }};
}

bool takes_f32(const KernelSignature& s) { return s.inputs[0] == DType::f32; }

}  // namespace

void add_quantize_cpu(KernelTable& table) {
  table.add({.op = "absmax", .name = "absmax.f32", .supports = takes_f32, .bind = bind_absmax});
  table.add({.op = "quantize", .name = "quantize.f32", .supports = takes_f32, .bind = bind_quantize});
  table.add({.op = "dequantize",
             .name = "dequantize.f32",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind_dequantize});
  table.add({.op = "quantize_rows",
             .name = "quantize_rows.f32",
             .supports = takes_f32,
             .bind = bind_quantize_rows});
}

}  // namespace floe
#endif  // HWY_ONCE
